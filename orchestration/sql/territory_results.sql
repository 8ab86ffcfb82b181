-- What one publication did to each of some territories, and how many rows each has now.
WITH change AS (
  SELECT territory,
         count(*) FILTER (operation = 'insert') AS inserted,
         count(*) FILTER (operation = 'update') AS updated,
         count(*) FILTER (operation = 'delete') AS deleted
  FROM territory_delta WHERE seq = $seq GROUP BY territory),
size AS (
  SELECT territory, sum(rows) AS rows FROM territory_head WHERE to_seq = $open GROUP BY territory)
SELECT picked.territory, known.name, coalesce(inserted, 0), coalesce(updated, 0), coalesce(deleted, 0),
       coalesce(rows, 0)::BIGINT
FROM (SELECT unnest($territories::VARCHAR[]) AS territory) AS picked
LEFT JOIN change USING (territory)
LEFT JOIN size USING (territory)
LEFT JOIN territory AS known USING (territory)
ORDER BY picked.territory
