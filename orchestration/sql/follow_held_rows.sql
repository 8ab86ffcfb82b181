-- Held rows without those that left a territory, and with those that came there along with a parent.
CREATE OR REPLACE TEMP TABLE new_held_row AS
FROM held_row
ANTI JOIN (FROM moved_held WHERE operation = 'delete') AS gone USING (territory, object, row_id)
UNION ALL
SELECT moved.territory, object, row_id, any_value(held.evidence), min(held.since)
FROM (FROM moved_held WHERE operation = 'insert') AS moved
JOIN held_row AS held USING (object, row_id)
GROUP BY ALL
