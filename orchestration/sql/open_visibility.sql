INSERT INTO visibility
SELECT territory, object, row_id, $seq, $open FROM membership WHERE level = $level AND operation = 'insert'
