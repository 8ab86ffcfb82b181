-- Rows that some territories see, or should see by the snapshots. The recomputing statement is put in by name.
INSERT INTO touched
SELECT object, row_id FROM visibility
WHERE to_seq = $open AND territory IN (SELECT unnest($territories::VARCHAR[]))
UNION
SELECT object, row_id FROM recompute_visibility
WHERE territory IN (SELECT unnest($territories::VARCHAR[]))
