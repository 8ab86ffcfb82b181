-- Known rows with one of these ids, whatever object they belong to.
SELECT object, row_id FROM row_state WHERE row_id IN (SELECT unnest($ids::VARCHAR[]))
