-- Rows whose content one publication changed, and rows it ended (no version, no body).
SELECT version.object, version.row_id, version.version, version.digest, body.body, NULL AS merged_into
FROM (FROM row_version WHERE from_seq = $seq) AS version
JOIN row_body AS body USING (object, row_id, from_seq)
UNION ALL
SELECT ended.object, ended.row_id, NULL, NULL, NULL, state.merged_into
FROM (FROM row_version WHERE to_seq = $seq) AS ended
ANTI JOIN (FROM row_version WHERE from_seq = $seq) AS renewed USING (object, row_id)
LEFT JOIN row_state AS state USING (object, row_id)
ORDER BY object, row_id
