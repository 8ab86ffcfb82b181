INSERT INTO row_body SELECT object, row_id, $seq, body FROM content SEMI JOIN new_version USING (object, row_id)
