-- Territories (and '*', all of them) that would lose more than a share of their rows at once, announced losses apart.
WITH loss AS (
  SELECT territory, count(*) AS deletes
  FROM (FROM delta WHERE operation = 'delete') AS gone
  ANTI JOIN announced_loss USING (territory, object, row_id)
  GROUP BY territory),
size AS (
  SELECT territory, sum(rows) AS rows FROM territory_head WHERE to_seq = $open GROUP BY territory),
share AS (
  SELECT territory, deletes, rows FROM loss JOIN size USING (territory)
  UNION ALL
  SELECT '*', (SELECT sum(deletes) FROM loss), (SELECT sum(rows) FROM size))
SELECT territory, deletes::BIGINT, rows::BIGINT FROM share
WHERE deletes >= $min_rows AND deletes > $max_share * rows
ORDER BY deletes DESC, territory
