-- Rows just read that were gone before: as tombstones here, or deleted in the CRM before we ever saw them.
-- (snapshot_table stands for the object's own.)
SELECT row_id FROM fresh SEMI JOIN (FROM snapshot_table WHERE _state <> 'live') AS gone USING (row_id)
UNION
SELECT row_id
FROM fresh
ANTI JOIN snapshot_table USING (row_id)
WHERE row_id IN (
  SELECT row_id FROM deleted_items WHERE object = $object
  UNION ALL
  SELECT object_id FROM modification_records WHERE event_name = 'DeleteRecord')
