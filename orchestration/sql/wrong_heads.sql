-- Sizes and digests of some territories that differ from what their rows add up to, with the right ones.
-- The recomputing statement is put in by name.
CREATE OR REPLACE TEMP TABLE wrong_head AS
SELECT territory, object,
       coalesce(held.from_seq, (SELECT max(seq) FROM publication)) AS from_seq,
       coalesce(counted.rows, 0) AS rows, coalesce(counted.digest, 0) AS digest
FROM recompute_heads AS counted
FULL JOIN (FROM territory_head WHERE to_seq = $open) AS held USING (territory, object)
WHERE territory IN (SELECT unnest($territories::VARCHAR[]))
  AND (coalesce(counted.rows, 0), coalesce(counted.digest, 0))
      IS DISTINCT FROM (coalesce(held.rows, 0), coalesce(held.digest, 0))
