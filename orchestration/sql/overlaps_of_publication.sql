-- Intervals of rows that one publication touched that overlap in a territory: there must be none.
SELECT count(*) FROM (
  SELECT to_seq > lead(from_seq) OVER (PARTITION BY territory, object, row_id ORDER BY from_seq) AS overlapping
  FROM visibility AS seen
  SEMI JOIN (FROM territory_delta WHERE seq = $seq) AS delta
    ON delta.row_id = seen.row_id AND (delta.territory, delta.object) = (seen.territory, seen.object))
WHERE overlapping
