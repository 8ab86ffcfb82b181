-- Rows that could not be understood and were not read well since: what made them so may be over.
SELECT object, row_id FROM (
  SELECT object, row_id, max(reading) AS reading FROM quarantine WHERE row_id IS NOT NULL GROUP BY object, row_id) AS aside
LEFT JOIN row_state USING (object, row_id)
WHERE coalesce(row_state.reading <= aside.reading, true)
