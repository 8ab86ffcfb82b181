-- Rows that are surely live, at random, those first that are not asked for now: an answer to a query that names one of
-- them, and lacks it, is no answer. (snapshot_table stands for the object's own.)
WITH asked AS (SELECT value AS row_id FROM read_requests WHERE object = $object AND kind = 'id'),
ended AS (
  SELECT object_id AS row_id FROM modification_records WHERE event_name = 'DeleteRecord'
  UNION ALL
  SELECT child_id FROM modification_records WHERE event_name = 'MergeRecords'
  UNION ALL
  SELECT row_id FROM deleted_items WHERE object = $object),
doubtful AS (
  SELECT row_id FROM doubtful_reading WHERE object = $object
  UNION ALL
  -- One that was restored is no loss as a witness.
  FROM asked SEMI JOIN ended USING (row_id))
SELECT row.row_id
FROM snapshot_table AS row
LEFT JOIN (SELECT DISTINCT row_id, true AS now FROM asked) AS asked USING (row_id)
ANTI JOIN doubtful USING (row_id)
WHERE row._state = 'live'
ORDER BY asked.now NULLS FIRST, hash(row.row_id, $turn)
LIMIT $most
