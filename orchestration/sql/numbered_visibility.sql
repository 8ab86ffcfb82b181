-- All intervals inside the horizon, with the publication that touched them last: their end, or what the row's content did.
SELECT territory, object, number, from_seq, to_seq,
       CASE WHEN to_seq < $open THEN to_seq ELSE greatest(from_seq, changed_seq) END AS touched_seq
FROM visibility
LEFT JOIN numbered_row USING (object, row_id)
ORDER BY territory, number, from_seq
