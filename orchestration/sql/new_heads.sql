-- Sizes and digests after this publication: the ones before, plus what came, minus what went, modulo 2^64.
-- Of a row's versions, the new one holds from this publication on and the old one held just before; one may be both.
CREATE OR REPLACE TEMP TABLE new_head AS
WITH part AS (
  SELECT delta.territory, delta.object, version.digest::HUGEINT AS digest,
         operation = 'insert' AND from_seq <= $seq AND to_seq > $seq AS comes,
         operation = 'delete' AND from_seq < $seq AS goes,
         operation = 'update' AND from_seq = $seq AS replaces,
         operation = 'update' AND to_seq = $seq AS is_replaced
  FROM (FROM territory_delta WHERE seq = $seq) AS delta
  JOIN (FROM row_version WHERE to_seq >= $seq) AS version USING (object, row_id)),
change AS (
  SELECT territory, object,
         count(*) FILTER (comes) - count(*) FILTER (goes) AS rows,
         coalesce(sum(digest) FILTER (comes OR replaces), 0)
         - coalesce(sum(digest) FILTER (goes OR is_replaced), 0) AS digest
  FROM part GROUP BY territory, object)
SELECT change.territory, change.object,
       coalesce(held.rows, 0) + change.rows AS rows,
       (((coalesce(held.digest, 0)::HUGEINT + change.digest) % 18446744073709551616 + 18446744073709551616)
         % 18446744073709551616)::UBIGINT AS digest
FROM change
LEFT JOIN (FROM territory_head WHERE to_seq = $open) AS held USING (territory, object)
