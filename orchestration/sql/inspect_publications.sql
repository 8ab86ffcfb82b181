-- The newest publications, with what each changed.
SELECT seq, published_at, as_of, territories, inserted, updated, deleted
FROM publication ORDER BY seq DESC LIMIT $last
