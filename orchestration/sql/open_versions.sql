INSERT INTO row_version SELECT object, row_id, $seq, $open, version, digest FROM new_version ORDER BY row_id
