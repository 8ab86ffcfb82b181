SELECT count(DISTINCT territory),
       count(*) FILTER (operation = 'insert'),
       count(*) FILTER (operation = 'update'),
       count(*) FILTER (operation = 'delete')
FROM delta
