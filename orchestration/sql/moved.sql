-- Rows of a level that enter or leave a territory.
INSERT INTO moved
SELECT DISTINCT object, row_id FROM membership WHERE level = $level AND operation <> 'keep'
