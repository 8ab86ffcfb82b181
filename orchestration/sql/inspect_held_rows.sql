-- The held rows of a territory: why, since when, and where their newest readings put them (empty: nowhere).
SELECT object, row_id, row_name.name, coalesce(evidence, 'with its parent') AS evidence, since,
       (SELECT string_agg(DISTINCT coalesce(territory.name, target), ', ')
        FROM doubtful_target AS said LEFT JOIN territory ON territory.territory = said.target
        WHERE said.object = held.object AND said.row_id = held.row_id) AS would_go_to
FROM (FROM held_row WHERE territory = $territory) AS held
LEFT JOIN row_name USING (object, row_id)
ORDER BY evidence = 'with its parent', object, row_id
