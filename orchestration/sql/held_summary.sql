-- Of which objects readings are held, and in which territories.
SELECT DISTINCT coalesce(territory.name, held.territory) AS name, held.object
FROM (FROM held_row WHERE evidence IS NOT NULL) AS held
LEFT JOIN territory USING (territory)
ORDER BY ALL
