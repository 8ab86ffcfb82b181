-- Rows that one publication lets enter a territory they are in, or leave one they are not in: there must be none.
SELECT count(*) FROM (
  SELECT delta.territory, delta.object, delta.row_id, operation,
         count(*) FILTER (seen.from_seq < $seq AND seen.to_seq >= $seq) AS held_before
  FROM (FROM territory_delta WHERE seq = $seq) AS delta
  JOIN visibility AS seen
    ON seen.row_id = delta.row_id AND (seen.territory, seen.object) = (delta.territory, delta.object)
  GROUP BY ALL)
WHERE held_before <> CASE operation WHEN 'insert' THEN 0 ELSE 1 END
