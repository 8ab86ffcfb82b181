UPDATE visibility SET to_seq = $seq
WHERE rowid IN (SELECT place FROM object_membership WHERE operation = 'delete')
