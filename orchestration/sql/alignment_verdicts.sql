-- Rows that would leave each territory, of how many, and by which limit the guard would hold some of them.
WITH size AS (SELECT territory, sum(rows)::BIGINT AS rows FROM territory_head WHERE to_seq = $open GROUP BY territory),
loss AS (SELECT territory, count(DISTINCT (object, row_id)) AS rows FROM trial_loss GROUP BY territory),
held AS (
  SELECT loss.territory, any_value(loss.kind) AS kind
  FROM trial_loss AS loss
  SEMI JOIN beyond ON beyond.kind = loss.kind AND beyond.territory IN (loss.territory, '*')
  GROUP BY loss.territory)
SELECT coalesce(territory.name, loss.territory), coalesce(size.rows, 0), loss.rows, held.kind
FROM loss
LEFT JOIN size USING (territory)
LEFT JOIN held USING (territory)
LEFT JOIN territory USING (territory)
ORDER BY loss.rows DESC, 1
