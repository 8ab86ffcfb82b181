-- Rows that a derivation under way opens and closes, by territory and object, with the bytes that devices will fetch.
SELECT coalesce(territory.name, seen.territory), seen.object,
       count(*) FILTER (seen.from_seq = $seq),
       coalesce(sum(strlen(body.body)) FILTER (seen.from_seq = $seq), 0)::BIGINT,
       count(*) FILTER (seen.to_seq = $seq)
FROM (FROM visibility WHERE from_seq = $seq OR to_seq = $seq) AS seen
JOIN (FROM row_version WHERE to_seq > $seq) AS version USING (object, row_id)
JOIN row_body AS body
  ON body.object = seen.object AND body.row_id = seen.row_id AND body.from_seq = version.from_seq
LEFT JOIN territory ON territory.territory = seen.territory
GROUP BY ALL
ORDER BY ALL
