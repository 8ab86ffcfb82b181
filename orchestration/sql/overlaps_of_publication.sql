-- Intervals of rows that one publication touched that overlap in a territory: there must be none.
SELECT count(*) FROM (
  SELECT to_seq > lead(from_seq) OVER (PARTITION BY territory, object, row_id ORDER BY from_seq) AS overlapping
  FROM visibility SEMI JOIN (FROM territory_delta WHERE seq = $seq) AS delta USING (territory, object, row_id))
WHERE overlapping
