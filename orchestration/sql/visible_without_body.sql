-- Rows that a publication shows to a territory without having their text: there must be none.
WITH shown AS MATERIALIZED (
  SELECT DISTINCT object, row_id FROM territory_delta WHERE seq = $seq AND operation <> 'delete'),
version AS MATERIALIZED (
  SELECT version.object, version.row_id, version.from_seq
  FROM row_version AS version
  SEMI JOIN shown ON shown.row_id = version.row_id AND (shown.object, true) = (version.object, version.to_seq > $seq))
SELECT count(*)
FROM shown
ANTI JOIN (FROM version JOIN row_body USING (object, row_id, from_seq) WHERE from_seq <= $seq) AS text
USING (object, row_id)
