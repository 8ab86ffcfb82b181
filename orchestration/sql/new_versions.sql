-- Contents that no open version has. The digest is what devices add up: SHA-256 of object|rowId|_v.
CREATE OR REPLACE TEMP TABLE new_version AS
SELECT object, row_id, content.version,
       ('0x' || substr(sha256(object || '|' || row_id || '|' || version_text), 1, 16))::UBIGINT AS digest
FROM content
LEFT JOIN held_version AS held USING (object, row_id)
WHERE held.version IS DISTINCT FROM content.version
