INSERT INTO territory_head SELECT territory, object, $seq, $open, rows, digest FROM new_head
