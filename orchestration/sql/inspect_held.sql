-- Publications that the mass-delete guard stopped, and what was decided; * stands for all territories together.
SELECT held_at, coalesce(known.name, held.territory) AS territory, deletes, rows,
       released_at, released_because, published_seq
FROM held_publication AS held LEFT JOIN territory AS known ON known.territory = held.territory
ORDER BY held_at, deletes DESC, territory
