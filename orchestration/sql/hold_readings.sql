-- The readings that cost rows of a territory that is beyond its share; one that was held before keeps the time.
UPDATE doubtful_reading AS reading
SET held_since = coalesce(held_since, $now)
FROM (
  SELECT DISTINCT object, row_id
  FROM trial_loss AS loss
  SEMI JOIN beyond ON beyond.kind = loss.kind AND beyond.territory IN (loss.territory, '*')) AS costly
WHERE costly.object = reading.object AND costly.row_id = reading.row_id
