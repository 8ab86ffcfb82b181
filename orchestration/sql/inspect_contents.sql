-- A territory's rows at a publication; the text is NULL where it is no longer kept.
SELECT object, row_id, printf('%016x', version.version) AS version, body.body
FROM (FROM visibility WHERE territory = $territory AND from_seq <= $at AND to_seq > $at) AS seen
JOIN (FROM row_version WHERE from_seq <= $at AND to_seq > $at) AS version USING (object, row_id)
LEFT JOIN row_body AS body
  ON body.object = version.object AND body.row_id = version.row_id AND body.from_seq = version.from_seq
WHERE $object IS NULL OR object = $object
ORDER BY object, row_id
