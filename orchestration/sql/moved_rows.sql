-- Rows of one object that entered or left any territory: what hangs on them is affected.
INSERT INTO moved
SELECT DISTINCT object, row_id FROM visibility
WHERE object = $object AND (from_seq = $seq OR to_seq = $seq)
