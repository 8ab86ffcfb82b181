-- What is held in each territory: since when, how many rows of how many, why, and where the rows' newest readings put them
-- (parents by id: this is shown in records of runs, which have no names of customers).
WITH held AS (FROM held_row),
target AS (
  SELECT held.territory, coalesce(territory.name, target.target) AS name, count(DISTINCT held.row_id) AS rows
  FROM held
  JOIN doubtful_target AS target USING (object, row_id)
  LEFT JOIN territory ON territory.territory = target.target
  WHERE target.target IS NOT NULL AND target.target <> held.territory
  GROUP BY ALL),
size AS (SELECT territory, sum(rows)::BIGINT AS rows FROM territory_head WHERE to_seq = $open GROUP BY territory)
SELECT territory, any_value(known.name) AS name, min(since) AS since, count(*) AS held_rows, any_value(size.rows) AS rows,
       count(*) FILTER (evidence = 'vanished') AS vanished,
       count(*) FILTER (evidence = 'blanked') AS blanked,
       count(*) FILTER (evidence = 'unknown target') AS unknown_target,
       count(*) FILTER (evidence = 'unlinked') AS unlinked,
       count(*) FILTER (evidence = 'outdated') AS outdated,
       count(*) FILTER (evidence = 'moved') AS moved,
       count(*) FILTER (evidence IS NULL) AS with_parent,
       (SELECT string_agg(name || ': ' || rows, ', ' ORDER BY rows DESC, name) FROM (
          SELECT name, rows FROM target WHERE target.territory = held.territory ORDER BY rows DESC, name LIMIT 3)) AS targets,
       (SELECT list((object, row_id)) FROM (
          SELECT object, row_id FROM held AS shown WHERE shown.territory = held.territory
          ORDER BY evidence IS NULL, object, row_id LIMIT 3)) AS sample
FROM held
LEFT JOIN territory AS known USING (territory)
LEFT JOIN size USING (territory)
GROUP BY territory
ORDER BY held_rows DESC, territory
