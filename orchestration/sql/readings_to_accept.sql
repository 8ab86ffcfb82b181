-- Readings that are not held, and held ones that make no difference any more.
SELECT object, row_id FROM doubtful_reading WHERE held_since IS NULL
UNION
SELECT object, row_id FROM doubtful_reading ANTI JOIN trial_loss USING (object, row_id)
