-- All versions inside the horizon; a superseded body may be gone. A row that ended in a merge names its survivor.
SELECT version.object, version.row_id, version.from_seq, version.to_seq, version.version, version.digest, body.body,
       CASE WHEN state.state <> 'live' THEN state.merged_into END AS merged_into
FROM row_version AS version
LEFT JOIN row_body AS body USING (object, row_id, from_seq)
LEFT JOIN row_state AS state USING (object, row_id)
