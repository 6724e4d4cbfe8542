-- name: waiting
-- locks: none; a read. Batches that were tried and could not be done, by job and code.
WITH ours AS (
    SELECT id, table_name, part FROM tenantry_jobs WHERE migration_id = :migration
)
SELECT ours.table_name AS "table", ours.part, 0 AS parted, b.sqlstate, count(*) AS batches, max(b.error) AS error,
       min(coalesce(b.waiting_since, b.created_at)) AS since, min(b.not_before) AS next_try_at
FROM ours JOIN tenantry_batches AS b ON b.job_id = ours.id
WHERE b.state = 'pending' AND (b.attempts > 0 OR b.lost > 0)
GROUP BY ours.id, ours.table_name, ours.part, b.sqlstate ORDER BY ours.id, b.sqlstate;

-- name: stopped
-- locks: none; a read. Jobs that stopped themselves.
SELECT table_name AS "table", part, 0 AS parted, reason
FROM tenantry_jobs WHERE migration_id = :migration AND state = 'stopped' ORDER BY id;

-- name: set_aside
-- locks: none; a read. The first rows that are set aside.
SELECT j.table_name AS "table", j.part, 0 AS parted, json_extract(j.spec, '$.key') AS columns, q.key, q.sqlstate,
       q.message, q.created_at AS since
FROM tenantry_quarantine AS q JOIN tenantry_jobs AS j ON j.id = q.job_id
WHERE j.migration_id = :migration ORDER BY q.id LIMIT :most;
