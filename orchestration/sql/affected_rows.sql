-- Rows of one object whose territories may have changed: rows that were read anew.
CREATE OR REPLACE TEMP TABLE affected AS SELECT row_id FROM changed WHERE object = $object
