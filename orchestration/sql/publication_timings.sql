-- For each publication from $first_seq on: the oldest edit that it brings and when that was read (both the publication's
-- own time where no event told of it), and its numbers. The edit's stamp is the CRM's clock, the others are ours.
WITH spans AS (
    SELECT *, coalesce(lag(published_at) OVER (ORDER BY seq), TIMESTAMP '1970-01-01') AS since
    FROM publication
)
SELECT
    p.seq,
    least(coalesce(min(e.modified_date), p.published_at), p.published_at) AS edited_at,
    coalesce(min(e.read_at), p.published_at) AS read_at,
    p.published_at, p.inserted, p.updated, p.deleted
FROM spans AS p
LEFT JOIN modification_records AS e ON e.read_at > p.since AND e.read_at <= p.published_at
WHERE p.seq >= $first_seq
GROUP BY p.seq, p.published_at, p.inserted, p.updated, p.deleted
ORDER BY p.seq
