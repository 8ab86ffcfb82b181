UPDATE territory_held SET to_seq = $seq
WHERE to_seq = $open AND (territory, object) IN (SELECT (territory, object) FROM held_count)
