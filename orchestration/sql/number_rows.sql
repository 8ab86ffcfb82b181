-- All rows inside the horizon, numbered as answers list them. A row that ended in a merge names its survivor.
CREATE OR REPLACE TEMP TABLE numbered_row AS
SELECT row_number() OVER (ORDER BY list_position($objects, object), row_id) AS number, object, row_id,
       CASE WHEN state.state NOT IN ('live', 'held') THEN state.merged_into END AS merged_into, changed_seq
FROM (
  SELECT object, row_id, max(CASE WHEN to_seq < $open THEN to_seq ELSE from_seq END) AS changed_seq
  FROM row_version GROUP BY object, row_id)
LEFT JOIN row_state AS state USING (object, row_id)
