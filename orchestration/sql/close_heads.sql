UPDATE territory_head SET to_seq = $seq
WHERE to_seq = $open AND (territory, object) IN (SELECT (territory, object) FROM new_head)
