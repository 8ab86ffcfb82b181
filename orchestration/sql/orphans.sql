-- Rows that stay or appear in a territory although neither they nor a parent there lead to it: there must be none.
-- Only what one publication can make so is looked at: rows that entered, and rows below one that left.
WITH delta AS MATERIALIZED (FROM territory_delta WHERE seq = $seq),
suspect AS MATERIALIZED (
  SELECT territory, object, row_id FROM delta WHERE operation = 'insert'
  UNION
  SELECT delta.territory, edge.object, edge.row_id
  FROM (FROM delta WHERE operation = 'delete') AS delta
  JOIN any_parent_edge AS edge
    ON edge.parent_id = delta.row_id AND (edge.parent_object, edge.parent_id) = (delta.object, delta.row_id)),
live AS (SELECT object, row_id FROM row_state SEMI JOIN suspect USING (row_id) WHERE state IN ('live', 'held')),
led AS (
  SELECT territory, object, row_id FROM any_territory_edge SEMI JOIN suspect USING (row_id)
  UNION ALL
  SELECT parent.territory, edge.object, edge.row_id
  FROM (FROM any_parent_edge SEMI JOIN suspect USING (row_id)) AS edge
  JOIN visibility AS parent
    ON parent.row_id = edge.parent_id AND (parent.object, parent.to_seq) = (edge.parent_object, $open))
SELECT count(*)
FROM suspect
SEMI JOIN visibility AS seen
  ON seen.row_id = suspect.row_id
 AND (seen.territory, seen.object, seen.to_seq) = (suspect.territory, suspect.object, $open)
ANTI JOIN (FROM led SEMI JOIN live USING (object, row_id)) AS rightly USING (territory, object, row_id)
