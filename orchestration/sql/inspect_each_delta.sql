-- What each publication after one, up to another, changed in a territory.
SELECT seq, published_at, object, row_id, operation
FROM territory_delta JOIN publication USING (seq)
WHERE territory = $territory AND seq > $since AND seq <= $until
ORDER BY seq, object, row_id
