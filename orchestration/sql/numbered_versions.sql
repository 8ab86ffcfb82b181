-- All versions inside the horizon, each with the place of its body, which may be gone if it is superseded.
SELECT number, version.from_seq, version.to_seq, version.version, version.digest, body.rowid + 1 AS body
FROM row_version AS version
JOIN numbered_row USING (object, row_id)
LEFT JOIN row_body AS body USING (object, row_id, from_seq)
ORDER BY number, version.from_seq
