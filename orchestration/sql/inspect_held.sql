-- What is held now, by territory and object: since when, how many rows of how many, and why.
SELECT coalesce(territory.name, held.territory) AS territory, held.object, min(since) AS since, count(*) AS rows,
       coalesce(any_value(head.rows), 0) AS of_rows,
       count(*) FILTER (evidence = 'vanished') AS vanished,
       count(*) FILTER (evidence = 'blanked') AS blanked,
       count(*) FILTER (evidence = 'unknown target') AS unknown_target,
       count(*) FILTER (evidence = 'unlinked') AS unlinked,
       count(*) FILTER (evidence = 'outdated') AS outdated,
       count(*) FILTER (evidence = 'moved') AS moved,
       count(*) FILTER (evidence IS NULL) AS with_parent
FROM held_row AS held
LEFT JOIN territory ON territory.territory = held.territory
LEFT JOIN (FROM territory_head WHERE to_seq = $open) AS head
  ON head.territory = held.territory AND head.object = held.object
GROUP BY held.territory, territory.name, held.object
ORDER BY since, 1, 2
