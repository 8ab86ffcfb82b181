-- Rows whose own reading is held, in some territories (NULL: in all), of one object (NULL: of all).
CREATE OR REPLACE TEMP TABLE chosen AS
SELECT territory, object, row_id
FROM held_row
WHERE evidence IS NOT NULL
  AND ($territories IS NULL OR territory IN (SELECT unnest($territories::VARCHAR[])))
  AND ($object IS NULL OR object = $object)
