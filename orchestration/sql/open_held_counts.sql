INSERT INTO territory_held SELECT territory, object, $seq, $open, rows, since FROM held_count WHERE rows IS NOT NULL
