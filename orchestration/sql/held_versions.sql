-- The versions, with their places, of rows that were read anew or moved.
CREATE OR REPLACE TEMP TABLE held_version AS
SELECT version.object, version.row_id, version.version, version.digest, version.rowid AS place
FROM row_version AS version
SEMI JOIN (FROM changed UNION FROM moved) AS concerned
  ON concerned.row_id = version.row_id AND (concerned.object, $open) = (version.object, version.to_seq)
