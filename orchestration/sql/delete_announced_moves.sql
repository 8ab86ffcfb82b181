-- Announced moves that have come.
DELETE FROM announced_move
WHERE EXISTS (
  FROM visibility AS gone
  WHERE gone.to_seq = $seq
    AND gone.row_id = announced_move.row_id AND gone.territory = announced_move.source)
