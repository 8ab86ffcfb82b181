-- Affected rows of a level in the territories where they are, with the place of that interval, and where they belong.
-- Parents' own visibility is final by now: parents come first. (The edges of affected rows stand for the views.)
-- Where many are affected, no index is used, and blocks without parents are passed over instead.
INSERT INTO membership
WITH edge AS (FROM parent_edge),
wanted AS (
  SELECT object, territory, row_id FROM territory_edge WHERE territory IS NOT NULL
  UNION
  SELECT edge.object, parent.territory, edge.row_id
  FROM edge
  JOIN visibility AS parent
    ON parent.row_id = edge.parent_id AND (parent.object, parent.to_seq) = (edge.parent_object, $open)
   AND (NOT $many OR parent.object = edge.parent_object)),
held AS (
  SELECT seen.object, seen.territory, seen.row_id, seen.rowid AS place
  FROM visibility AS seen
  SEMI JOIN affected
    ON affected.row_id = seen.row_id AND (affected.object, $open) = (seen.object, seen.to_seq))
SELECT $level, object, territory, row_id, held.place,
       CASE WHEN held.row_id IS NULL THEN 'insert' WHEN wanted.row_id IS NULL THEN 'delete' ELSE 'keep' END
FROM wanted FULL JOIN held USING (object, territory, row_id)
