-- Affected rows of one object in the territories where they are, with the place of that interval, and where they belong.
-- Parents' own visibility is final by now: parents come first.
CREATE OR REPLACE TEMP TABLE object_membership AS
WITH wanted AS (
  SELECT territory, row_id FROM local_territory_edge
  UNION
  SELECT parent.territory, edge.row_id
  FROM local_parent_edge AS edge
  JOIN visibility AS parent
    ON parent.object = edge.parent_object AND parent.row_id = edge.parent_id AND parent.to_seq = $open),
held AS (
  SELECT territory, row_id, rowid AS place
  FROM visibility SEMI JOIN affected USING (row_id)
  WHERE object = $object AND to_seq = $open)
SELECT $object AS object, territory, row_id, held.place,
       CASE WHEN held.row_id IS NULL THEN 'insert' WHEN wanted.row_id IS NULL THEN 'delete' ELSE 'keep' END AS operation
FROM wanted FULL JOIN held USING (territory, row_id)
