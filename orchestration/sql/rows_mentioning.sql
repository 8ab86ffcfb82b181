-- Known rows that name one of the ids in an id field or a link, and rows that an event of the log ever named together
-- with it: a link made to a row that was deleted before we read the link shows up only when that row is restored. A row
-- that ended in a merge left its links to the survivor.
WITH RECURSIVE target AS (SELECT unnest($ids::VARCHAR[]) AS id),
together AS (
  SELECT child_id AS row_id FROM modification_records SEMI JOIN target ON target.id = object_id WHERE child_id IS NOT NULL
  UNION
  SELECT object_id FROM modification_records SEMI JOIN target ON target.id = child_id),
named (object, row_id) AS (
  SELECT object, row_id FROM mention SEMI JOIN target ON target.id = target_id
  UNION
  SELECT object, row_id FROM row_state SEMI JOIN together USING (row_id)
  UNION
  SELECT state.object, state.merged_into
  FROM named JOIN row_state AS state ON state.object = named.object AND state.row_id = named.row_id
  WHERE state.merged_into IS NOT NULL)
FROM named
