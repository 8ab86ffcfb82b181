-- Affected rows leave the territories they no longer belong to.
UPDATE visibility SET to_seq = $seq
WHERE object = $object AND to_seq = $open
  AND row_id IN (SELECT row_id FROM affected)
  AND NOT EXISTS (
    FROM wanted WHERE wanted.territory = visibility.territory AND wanted.row_id = visibility.row_id)
