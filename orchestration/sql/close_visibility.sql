UPDATE visibility SET to_seq = $seq
WHERE rowid IN (SELECT place FROM membership WHERE object = $object AND operation = 'delete')
