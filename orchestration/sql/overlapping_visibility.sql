-- Intervals of one row in one territory that overlap: there must be none.
SELECT count(*) FROM (
  SELECT to_seq > lead(from_seq) OVER (PARTITION BY territory, object, row_id ORDER BY from_seq) AS overlapping
  FROM visibility)
WHERE overlapping
