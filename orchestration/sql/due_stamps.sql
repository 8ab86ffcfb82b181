-- Territories to mark as changed: the oldest changes first, all of one publication together, then those of this hour.
WITH head AS (
  SELECT territory, sum(rows)::BIGINT AS rows, max(from_seq) AS changed_by
  FROM territory_head WHERE to_seq = $open GROUP BY territory),
changed AS (
  SELECT changed_by, sum(count(*)) OVER (ORDER BY changed_by) - count(*) AS before
  FROM head WHERE changed_by > $stamped_seq GROUP BY changed_by)
SELECT head.territory, territory.name, head.rows, changed_by, publication.published_at,
       coalesce(before < $limit, false) AS fresh
FROM head
JOIN publication ON publication.seq = changed_by
LEFT JOIN territory USING (territory)
LEFT JOIN changed USING (changed_by)
WHERE before < $limit OR hash(head.territory) % $hours = $hour
ORDER BY changed_by, head.territory
