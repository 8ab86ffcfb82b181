-- Texts of versions that ended at or before the horizon, or whose version is forgotten already.
DELETE FROM row_body
WHERE NOT EXISTS (
  FROM row_version AS version
  WHERE version.object = row_body.object AND version.row_id = row_body.row_id
    AND version.from_seq = row_body.from_seq AND version.to_seq > $horizon)
