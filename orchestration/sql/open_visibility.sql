-- Affected rows enter the territories they newly belong to.
INSERT INTO visibility
SELECT wanted.territory, $object, wanted.row_id, $seq, $open
FROM wanted
ANTI JOIN (FROM visibility WHERE object = $object AND to_seq = $open) AS held
  ON held.territory = wanted.territory AND held.row_id = wanted.row_id
