-- Rows that leave with a row whose move was announced.
INSERT INTO announced_loss
WITH RECURSIVE announced (territory, object, row_id) AS (
  SELECT gone.territory, gone.object, gone.row_id
  FROM (FROM delta WHERE operation = 'delete') AS gone
  SEMI JOIN announced_move AS move ON move.row_id = gone.row_id AND move.source = gone.territory
  UNION
  SELECT gone.territory, gone.object, gone.row_id
  FROM announced
  JOIN parent_edge AS edge ON edge.parent_object = announced.object AND edge.parent_id = announced.row_id
  JOIN (FROM delta WHERE operation = 'delete') AS gone
    ON gone.territory = announced.territory AND gone.object = edge.object AND gone.row_id = edge.row_id)
FROM announced
