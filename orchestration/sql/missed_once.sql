-- Of the rows that did not come when they were asked for the first time: those to ask for once more before that means
-- anything. Not so where a delete is proven, nor for rows that were missing twice before: those are asked for in sweeps.
SELECT row_id
FROM classified
WHERE row_id IN (SELECT unnest($asked_once::VARCHAR[]))
  AND state <> 'deleted' AND was IS DISTINCT FROM 'lost'
  AND row_id NOT IN (SELECT row_id FROM doubtful_reading WHERE object = $object AND evidence = 'vanished')
