-- What this publication changes in each territory.
INSERT INTO territory_delta
SELECT $seq, territory, object, row_id, CASE WHEN from_seq = $seq THEN 'insert' ELSE 'delete' END
FROM visibility WHERE from_seq = $seq OR to_seq = $seq
UNION ALL
SELECT $seq, seen.territory, seen.object, seen.row_id, 'update'
FROM visibility AS seen
SEMI JOIN (FROM row_version WHERE from_seq = $seq) AS version USING (object, row_id)
WHERE seen.from_seq < $seq AND seen.to_seq = $open
