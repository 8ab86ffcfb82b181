-- What this publication changes in each territory, with the digests of the rows before and after.
CREATE OR REPLACE TEMP TABLE delta AS
SELECT territory, object, row_id,
       CASE WHEN operation = 'keep' THEN 'update' ELSE operation END AS operation,
       CASE WHEN operation <> 'insert' THEN held_version.digest END AS before,
       CASE WHEN operation <> 'delete' THEN coalesce(new_version.digest, held_version.digest) END AS after
FROM membership
LEFT JOIN held_version USING (object, row_id)
LEFT JOIN new_version USING (object, row_id)
WHERE operation <> 'keep' OR new_version.row_id IS NOT NULL
