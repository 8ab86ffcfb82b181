-- Rows in which the CRM's census and a snapshot differ, and how. (snapshot_table stands for the object's own.)
WITH known AS (FROM snapshot_table WHERE _state IN ('live', 'held'))
SELECT coalesce(counted.row_id, known.row_id),
       CASE WHEN known.row_id IS NULL THEN 'not known here'
            WHEN counted.row_id IS NULL THEN 'not met in the CRM'
            ELSE 'changed without an event' END
FROM counted
FULL JOIN known ON known.row_id = counted.row_id
WHERE (known.row_id IS NULL OR counted.row_id IS NULL OR known.ModId IS DISTINCT FROM counted.mod_id)
  AND (known._reading IS NULL OR known._reading <= $reading)
