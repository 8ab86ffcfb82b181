-- Territories (and '*', all of them) that would lose more than a share of their rows at once. Rows that leave with a row
-- whose move was announced do not count.
WITH RECURSIVE announced (territory, object, row_id) AS (
  SELECT gone.territory, gone.object, gone.row_id
  FROM (FROM visibility WHERE to_seq = $seq) AS gone
  SEMI JOIN announced_move AS move ON move.row_id = gone.row_id AND move.source = gone.territory
  UNION
  SELECT gone.territory, gone.object, gone.row_id
  FROM announced
  JOIN parent_edge AS edge ON edge.parent_object = announced.object AND edge.parent_id = announced.row_id
  JOIN (FROM visibility WHERE to_seq = $seq) AS gone
    ON gone.territory = announced.territory AND gone.object = edge.object AND gone.row_id = edge.row_id),
loss AS (
  SELECT territory, count(*) AS deletes
  FROM (FROM visibility WHERE to_seq = $seq) AS gone
  ANTI JOIN announced USING (territory, object, row_id)
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
