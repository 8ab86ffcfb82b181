-- Versions begin for rows that have none open. The digest is what devices add up: SHA-256 of object|rowId|_v.
INSERT INTO row_version
SELECT object, row_id, $seq, $open, version,
       ('0x' || substr(sha256(object || '|' || row_id || '|' || version_text), 1, 16))::UBIGINT
FROM content
ANTI JOIN (FROM row_version WHERE to_seq = $open) AS held USING (object, row_id)
