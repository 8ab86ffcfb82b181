-- Rows that stay or appear in a territory although neither they nor a parent there lead to it: there must be none.
-- Only what one publication can make so is looked at: rows that entered, and rows below one that left.
WITH delta AS (FROM territory_delta WHERE seq = $seq),
suspect AS (
  SELECT territory, object, row_id FROM delta WHERE operation = 'insert'
  UNION
  SELECT delta.territory, edge.object, edge.row_id
  FROM delta JOIN parent_edge AS edge ON edge.parent_object = delta.object AND edge.parent_id = delta.row_id
  WHERE delta.operation = 'delete')
SELECT count(*)
FROM suspect
SEMI JOIN (FROM visibility WHERE to_seq = $open) AS seen USING (territory, object, row_id)
ANTI JOIN territory_edge USING (territory, object, row_id)
ANTI JOIN (
  SELECT parent.territory, edge.object, edge.row_id
  FROM parent_edge AS edge
  SEMI JOIN suspect ON suspect.object = edge.object AND suspect.row_id = edge.row_id
  JOIN (FROM visibility WHERE to_seq = $open) AS parent
    ON parent.object = edge.parent_object AND parent.row_id = edge.parent_id) AS led
USING (territory, object, row_id)
