-- Sizes and digests of all territories, from nothing.
SELECT territory, object, count(*) AS rows, (sum(digest::HUGEINT) % 18446744073709551616)::UBIGINT AS digest
FROM (FROM visibility WHERE to_seq = $open) AS seen
JOIN (FROM row_version WHERE to_seq = $open) AS version USING (object, row_id)
GROUP BY territory, object
