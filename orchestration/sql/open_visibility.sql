INSERT INTO visibility
SELECT territory, object, row_id, $seq, $open FROM object_membership WHERE operation = 'insert'
