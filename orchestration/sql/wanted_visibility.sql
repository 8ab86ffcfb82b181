-- Where the affected rows of one object belong now. Parents' own visibility is final by now: parents come first.
INSERT INTO wanted
SELECT edge.territory, edge.row_id
FROM territory_edge AS edge
SEMI JOIN affected USING (row_id)
WHERE edge.object = $object
UNION
SELECT parent.territory, edge.row_id
FROM parent_edge AS edge
SEMI JOIN affected USING (row_id)
JOIN visibility AS parent
  ON parent.object = edge.parent_object AND parent.row_id = edge.parent_id AND parent.to_seq = $open
WHERE edge.object = $object
