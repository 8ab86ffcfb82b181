-- Announced moves that have come.
DELETE FROM announced_move
WHERE EXISTS (
  FROM delta
  WHERE operation = 'delete' AND delta.row_id = announced_move.row_id AND delta.territory = announced_move.source)
