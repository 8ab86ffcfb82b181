-- Rows whose reading lost a way to a territory or parent, where that proves nothing, and why.
CREATE OR REPLACE TEMP TABLE doubtful AS
WITH way AS (
  SELECT row_id, way,
         bool_and(target IS NULL) AS blank,
         -- A CRM that lists no territories at all cannot tell which exist.
         bool_or(known_target.target IS NOT NULL
                 OR (lost_way.object = $territory AND NOT EXISTS (FROM snapshot.territory))) AS known
  FROM lost_way
  LEFT JOIN known_target USING (object, target)
  WHERE NOT EXISTS (
    FROM announced_move AS move
    WHERE move.row_id = lost_way.row_id AND lost_way.object = $territory AND move.target IS NOT DISTINCT FROM lost_way.target)
  GROUP BY ALL),
verdict AS (
  SELECT row_id, bool_or(blank) AS blanked, bool_or(NOT blank AND NOT known) AS unknown FROM way GROUP BY row_id)
SELECT row_id, differing._content,
       CASE WHEN blanked THEN 'blanked'
            WHEN unknown THEN 'unknown target'
            WHEN differing.ModId < known.was_ModId THEN 'outdated'
            -- To be read themselves before they prove anything.
            WHEN row_id IN (SELECT row_id FROM gone_link) THEN 'unlinked'
            WHEN $hold_moves THEN 'moved' END AS evidence
FROM verdict
JOIN differing USING (row_id)
JOIN known USING (row_id)
WHERE evidence IS NOT NULL
