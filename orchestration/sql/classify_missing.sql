-- Known rows that the CRM did not return, with what we can prove: deleted by an event, by the Deleted Items list, or
-- with a parent that is deleted; else lost from sight. The newest merge that swallowed a row names its survivor.
WITH restored AS (
  SELECT object_id AS row_id, max(modified_date) AS at
  FROM modification_records WHERE event_name = 'RestoreRecord' GROUP BY object_id),
ended AS (
  SELECT object_id AS row_id, max(modified_date) AS at
  FROM modification_records WHERE event_name = 'DeleteRecord' GROUP BY object_id
  UNION ALL
  SELECT child_id, max(modified_date)
  FROM modification_records WHERE event_name = 'MergeRecords' GROUP BY child_id
  UNION ALL
  SELECT row_id, max(deleted_at) FROM deleted_items WHERE object = $object GROUP BY row_id),
merged AS (
  SELECT child_id AS row_id, arg_max(object_id, modified_date) AS survivor
  FROM modification_records WHERE event_name = 'MergeRecords' GROUP BY child_id),
proven AS (
  SELECT DISTINCT row_id FROM ended LEFT JOIN restored USING (row_id)
  WHERE restored.at IS NULL OR ended.at >= restored.at
  UNION
  SELECT edge.row_id
  FROM parent_edge AS edge
  SEMI JOIN missing ON missing.row_id = edge.row_id
  JOIN row_state AS parent ON parent.object = edge.parent_object AND parent.row_id = edge.parent_id
  WHERE edge.object = $object AND parent.state = 'deleted')
SELECT missing.row_id, missing.was,
       CASE WHEN proven.row_id IS NULL THEN 'lost' ELSE 'deleted' END AS state,
       merged.survivor
FROM missing
LEFT JOIN proven USING (row_id)
LEFT JOIN merged USING (row_id)
WHERE state <> missing.was
