INSERT INTO row_body
SELECT object, row_id, from_seq, body
FROM row_version JOIN content USING (object, row_id)
WHERE row_version.from_seq = $seq
