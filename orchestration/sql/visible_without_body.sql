-- Rows that a publication shows to a territory without having their text: there must be none.
SELECT count(*)
FROM (FROM territory_delta WHERE seq = $seq AND operation <> 'delete') AS shown
ANTI JOIN (
  FROM row_version JOIN row_body USING (object, row_id, from_seq) WHERE from_seq <= $seq AND to_seq > $seq) AS text
USING (object, row_id)
