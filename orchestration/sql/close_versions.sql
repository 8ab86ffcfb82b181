-- Versions end where the content differs now, or the row is gone.
UPDATE row_version SET to_seq = $seq
WHERE rowid IN (
  SELECT held.place
  FROM (FROM held_version SEMI JOIN changed USING (object, row_id)) AS held
  LEFT JOIN content USING (object, row_id)
  WHERE content.version IS DISTINCT FROM held.version)
