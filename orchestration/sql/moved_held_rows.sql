-- Held rows that this publication makes enter or leave a territory, because a parent moved or something was proven.
CREATE OR REPLACE TEMP TABLE moved_held AS
SELECT territory, object, row_id, operation FROM (FROM delta WHERE operation <> 'update') AS moved
SEMI JOIN held_row USING (object, row_id)
