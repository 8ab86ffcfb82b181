-- Readings that the guard has not looked at, and held rows whose reading has resolved.
SELECT (SELECT count(*) FROM doubtful_reading WHERE NOT weighed)
     + (SELECT count(*) FROM (FROM held_row WHERE evidence IS NOT NULL) AS held
        ANTI JOIN doubtful_reading USING (object, row_id))
