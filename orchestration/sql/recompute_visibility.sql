-- Every row in every territory it belongs to, from nothing: the definition that the incremental steps must agree with.
WITH RECURSIVE reach (territory, object, row_id) AS (
  SELECT territory, object, row_id FROM territory_edge
  UNION
  SELECT reach.territory, edge.object, edge.row_id
  FROM reach JOIN parent_edge AS edge ON edge.parent_object = reach.object AND edge.parent_id = reach.row_id)
SELECT territory, object, row_id FROM reach
