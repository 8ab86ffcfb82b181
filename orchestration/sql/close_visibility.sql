UPDATE visibility SET to_seq = $seq
WHERE rowid IN (SELECT place FROM membership WHERE level = $level AND operation = 'delete')
