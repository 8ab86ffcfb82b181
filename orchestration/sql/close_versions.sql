-- Versions end where the content differs now, or the row is gone.
UPDATE row_version SET to_seq = $seq
WHERE to_seq = $open
  AND (object, row_id) IN (SELECT (object, row_id) FROM changed)
  AND NOT EXISTS (
    FROM content
    WHERE content.object = row_version.object AND content.row_id = row_version.row_id
      AND content.version = row_version.version)
