-- By what a territory's view at one publication differs from its view at an earlier one: each row once.
WITH shown AS (
  SELECT object, row_id, seen.from_seq AS enters, seen.to_seq AS leaves,
         version.from_seq AS begins, version.to_seq AS ends, version.version
  FROM (FROM visibility WHERE territory = $territory) AS seen
  JOIN row_version AS version USING (object, row_id)),
was AS (FROM shown WHERE enters <= $since AND leaves > $since AND begins <= $since AND ends > $since),
now AS (FROM shown WHERE enters <= $until AND leaves > $until AND begins <= $until AND ends > $until)
SELECT coalesce(now.object, was.object) AS object, coalesce(now.row_id, was.row_id) AS row_id,
       CASE WHEN was.row_id IS NULL THEN 'insert' WHEN now.row_id IS NULL THEN 'delete' ELSE 'update' END AS operation,
       printf('%016x', now.version) AS version, body.body
FROM was
FULL JOIN now ON now.object = was.object AND now.row_id = was.row_id
LEFT JOIN row_body AS body
  ON body.object = now.object AND body.row_id = now.row_id AND body.from_seq = now.begins
WHERE now.version IS DISTINCT FROM was.version
ORDER BY ALL
