-- Rows of one object that enter or leave a territory.
INSERT INTO moved
SELECT DISTINCT object, row_id FROM membership WHERE object = $object AND operation <> 'keep'
