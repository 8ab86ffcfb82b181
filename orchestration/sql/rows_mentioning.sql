-- Known rows that name one of the ids in an id field or a link, and rows that an event of the log ever named together
-- with it: a link made to a row that was deleted before we read the link shows up only when that row is restored.
WITH target AS (SELECT unnest($ids::VARCHAR[]) AS id),
together AS (
  SELECT child_id AS row_id FROM modification_records SEMI JOIN target ON target.id = object_id WHERE child_id IS NOT NULL
  UNION
  SELECT object_id FROM modification_records SEMI JOIN target ON target.id = child_id)
SELECT object, row_id FROM mention SEMI JOIN target ON target.id = target_id
UNION
SELECT object, row_id FROM row_state SEMI JOIN together USING (row_id)
