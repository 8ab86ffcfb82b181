-- Versions, superseded ones too, whose kept text or digest is not theirs, or no JSON: there must be none.
SELECT count(*)
FROM (
  SELECT object, row_id, body, version, digest, substr(sha256(body), 1, 16) AS found
  FROM row_version JOIN row_body USING (object, row_id, from_seq))
WHERE version <> ('0x' || found)::UBIGINT
   OR digest <> ('0x' || substr(sha256(object || '|' || row_id || '|' || found), 1, 16))::UBIGINT
   OR NOT json_valid(body)
