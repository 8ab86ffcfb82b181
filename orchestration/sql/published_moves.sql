-- Rows that one publication made enter a territory, or leave one.
SELECT territory, object, row_id, operation = 'insert' AS entered
FROM territory_delta
WHERE seq = $seq AND operation <> 'update'
ORDER BY object, row_id
