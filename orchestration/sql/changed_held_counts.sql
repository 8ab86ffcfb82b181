-- Territories' objects of which another number of rows is held than was told, or since another time.
CREATE OR REPLACE TEMP TABLE held_count AS
SELECT coalesce(now.territory, told.territory) AS territory, coalesce(now.object, told.object) AS object,
       now.rows, now.since
FROM (SELECT territory, object, count(*) AS rows, min(since) AS since FROM held_row GROUP BY ALL) AS now
FULL JOIN (FROM territory_held WHERE to_seq = $open) AS told
  ON told.territory = now.territory AND told.object = now.object
WHERE (now.rows, now.since) IS DISTINCT FROM (told.rows, told.since)
