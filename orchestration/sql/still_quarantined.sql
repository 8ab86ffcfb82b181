-- Rows that could not be understood and were not read well since: what made them so may be over.
SELECT object, row_id FROM (
  SELECT object, row_id, max(seen_at) AS seen_at FROM quarantine WHERE row_id IS NOT NULL GROUP BY object, row_id) AS aside
LEFT JOIN row_state USING (object, row_id)
WHERE row_state.read_at IS NULL OR row_state.read_at <= aside.seen_at
