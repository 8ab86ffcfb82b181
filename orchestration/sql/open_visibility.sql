INSERT INTO visibility
SELECT territory, object, row_id, $seq, $open FROM membership WHERE object = $object AND operation = 'insert'
