-- Known rows that the CRM did not return, with what we can prove: deleted by an event, by the Deleted Items list, or
-- with a parent that is deleted; else lost from sight. The newest merge that swallowed a row names its survivor.
-- Proof that we had when the row was last seen alive proves nothing about its absence now.
CREATE OR REPLACE TEMP TABLE classified AS
WITH restored AS (
  SELECT object_id AS row_id, max(modified_date) AS at
  FROM modification_records WHERE event_name = 'RestoreRecord' GROUP BY object_id),
ended AS (
  SELECT object_id AS row_id, modified_date AS at, reading
  FROM modification_records WHERE event_name = 'DeleteRecord'
  UNION ALL
  SELECT child_id, modified_date, reading
  FROM modification_records WHERE event_name = 'MergeRecords'
  UNION ALL
  SELECT row_id, deleted_at, reading FROM deleted_items WHERE object = $object),
merged AS (
  SELECT child_id AS row_id, arg_max(object_id, modified_date) AS survivor
  FROM modification_records WHERE event_name = 'MergeRecords' GROUP BY child_id),
proven AS (
  SELECT DISTINCT row_id
  FROM (FROM ended SEMI JOIN missing USING (row_id)) AS ended
  JOIN missing USING (row_id)
  LEFT JOIN restored USING (row_id)
  WHERE (restored.at IS NULL OR ended.at >= restored.at)
    AND coalesce(ended.reading >= missing.seen, true)
  UNION
  -- What a field names takes the row with it; of parents that lists name, all must be gone.
  SELECT edge.row_id
  FROM parent_edge AS edge
  JOIN missing ON missing.row_id = edge.row_id
  LEFT JOIN row_state AS parent ON parent.object = edge.parent_object AND parent.row_id = edge.parent_id
  WHERE edge.object = $object AND edge.parent_id IS NOT NULL
  GROUP BY edge.row_id
  HAVING bool_or(coalesce(edge.by_field::BOOLEAN AND parent.state = 'deleted' AND parent.reading >= missing.seen, false))
      OR bool_and(coalesce(parent.state = 'deleted' AND parent.reading >= missing.seen, false)))
SELECT missing.row_id, missing.was,
       CASE WHEN proven.row_id IS NULL THEN 'lost' ELSE 'deleted' END AS state,
       merged.survivor
FROM missing
LEFT JOIN proven USING (row_id)
LEFT JOIN merged USING (row_id)
