-- Rows that would have left a territory and are there still: what is held, and what stays with it.
CREATE OR REPLACE TEMP TABLE new_held_row AS
SELECT loss.territory, loss.object, loss.row_id, reading.evidence,
       coalesce(reading.held_since, before.since, $now) AS since
FROM (SELECT DISTINCT territory, object, row_id FROM trial_loss) AS loss
SEMI JOIN visibility AS seen
  ON seen.row_id = loss.row_id AND (seen.territory, seen.object, seen.to_seq) = (loss.territory, loss.object, $open)
LEFT JOIN doubtful_reading AS reading USING (object, row_id)
LEFT JOIN held_row AS before USING (territory, object, row_id)
