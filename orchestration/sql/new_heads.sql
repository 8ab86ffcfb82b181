-- Sizes and digests after this publication: the ones before, plus what came, minus what went, modulo 2^64.
CREATE OR REPLACE TEMP TABLE new_head AS
WITH change AS (
  SELECT territory, object,
         count(*) FILTER (operation = 'insert') - count(*) FILTER (operation = 'delete') AS rows,
         coalesce(sum(after), 0) - coalesce(sum(before), 0) AS digest
  FROM delta GROUP BY territory, object)
SELECT change.territory, change.object,
       coalesce(held.rows, 0) + change.rows AS rows,
       (((coalesce(held.digest, 0)::HUGEINT + change.digest) % 18446744073709551616 + 18446744073709551616)
         % 18446744073709551616)::UBIGINT AS digest
FROM change
LEFT JOIN (FROM territory_head WHERE to_seq = $open) AS held USING (territory, object)
