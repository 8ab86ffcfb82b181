-- Rows of one object whose territories may have changed: rows that were read anew, and rows hanging on a row that moved.
CREATE OR REPLACE TEMP TABLE affected AS
SELECT row_id FROM changed WHERE object = $object
UNION
SELECT edge.row_id
FROM parent_edge AS edge
SEMI JOIN (FROM membership WHERE operation <> 'keep') AS moved
  ON moved.object = edge.parent_object AND moved.row_id = edge.parent_id
WHERE edge.object = $object
