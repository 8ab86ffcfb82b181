-- The versions, with their places, of rows that were read anew or moved.
CREATE OR REPLACE TEMP TABLE held_version AS
SELECT object, row_id, version, digest, rowid AS place
FROM row_version
SEMI JOIN (FROM changed UNION SELECT object, row_id FROM membership WHERE operation <> 'keep') AS concerned
  USING (object, row_id)
WHERE to_seq = $open
