-- Counts of held rows that one publication changed; 0 where nothing is held any more.
SELECT coalesce(now.territory, before.territory), coalesce(now.object, before.object),
       coalesce(now.rows, 0), coalesce(now.since, before.since)
FROM (FROM territory_held WHERE from_seq = $seq) AS now
FULL JOIN (FROM territory_held WHERE to_seq = $seq) AS before
  ON before.territory = now.territory AND before.object = now.object
