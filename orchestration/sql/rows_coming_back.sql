-- Rows just read that were gone before: as tombstones here, or deleted in the CRM before we ever saw them.
WITH unknown AS (SELECT row_id FROM fresh ANTI JOIN known USING (row_id))
SELECT row_id FROM fresh SEMI JOIN (FROM known WHERE NOT present) AS gone USING (row_id)
UNION
SELECT unknown.row_id
FROM unknown
SEMI JOIN deleted_items AS item ON item.row_id = unknown.row_id AND (item.object, item.row_id) = ($object, unknown.row_id)
UNION
SELECT unknown.row_id
FROM unknown
SEMI JOIN modification_records AS event
  ON event.object_id = unknown.row_id AND (event.event_name, event.object_id) = ('DeleteRecord', unknown.row_id)
