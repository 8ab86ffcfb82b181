-- What was decided about held rows, the newest first; no territory means all of them, no object all objects.
SELECT decided_at, decision, coalesce(known.name, decision.territory) AS territory, object, rows, decided_by, reason
FROM guard_decision AS decision LEFT JOIN territory AS known ON known.territory = decision.territory
ORDER BY decided_at DESC, territory
