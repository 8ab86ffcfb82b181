-- A row's versions, and the intervals in which territories saw it; an interval without an end holds still.
WITH part AS (
  SELECT 'content' AS kind, NULL AS territory, version.from_seq, version.to_seq,
         printf('%016x', version.version) AS version, body.body
  FROM row_version AS version LEFT JOIN row_body AS body USING (object, row_id, from_seq)
  WHERE object = $object AND row_id = $row_id
  UNION ALL
  SELECT 'visible', coalesce(known.name, seen.territory), seen.from_seq, seen.to_seq, NULL, NULL
  FROM visibility AS seen LEFT JOIN territory AS known ON known.territory = seen.territory
  WHERE object = $object AND row_id = $row_id)
SELECT kind, territory, from_seq, opened.published_at AS from_time,
       nullif(to_seq, $open) AS to_seq, closed.published_at AS to_time, version, body
FROM part
LEFT JOIN publication AS opened ON opened.seq = from_seq
LEFT JOIN publication AS closed ON closed.seq = to_seq
ORDER BY from_seq, kind, territory
