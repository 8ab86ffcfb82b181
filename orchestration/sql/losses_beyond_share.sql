-- Territories that lose more than a share of their rows to readings of one kind within the window; '*' stands for all of
-- them together, without those that are beyond it by themselves: what they lose is held.
INSERT INTO beyond
WITH size AS (
  SELECT territory, sum(rows) AS rows FROM territory_head WHERE to_seq = $open GROUP BY territory),
past AS (
  SELECT territory, count(*) AS lost
  FROM (SELECT DISTINCT territory, object, row_id FROM doubtful_loss WHERE kind = $kind AND lost_at >= $since) AS gone
  -- Rows that came back are no loss.
  ANTI JOIN (FROM visibility WHERE to_seq = $open) AS back USING (territory, object, row_id)
  GROUP BY territory),
waiting AS (
  SELECT territory, count(*) AS lost FROM trial_loss WHERE kind = $kind GROUP BY territory),
known AS (
  SELECT territory, coalesce(waiting.lost, 0) AS pending, coalesce(past.lost, 0) + pending AS losses,
         coalesce(size.rows, 0) + coalesce(past.lost, 0) AS rows
  FROM size
  FULL JOIN past USING (territory)
  FULL JOIN waiting USING (territory)),
share AS (
  SELECT *, pending > 0 AND losses >= $min_rows AND losses > $max_share * rows AS too_much FROM known)
SELECT $kind, territory FROM share WHERE too_much
UNION ALL
SELECT $kind, '*'
FROM (SELECT sum(losses - CASE WHEN too_much THEN pending ELSE 0 END) AS losses, sum(rows) AS rows FROM share)
WHERE losses >= $min_rows AND losses > $max_share * rows
