-- Rows that name another tenant's by a foreign key, which no key with the tenant in it can hold.

-- name: forget
-- locks: ROW EXCLUSIVE on tenantry.quarantine. What of a migration was set aside for it before: no batch of its own failed.
DELETE FROM tenantry.quarantine AS q USING tenantry.jobs AS j
WHERE j.id = q.job_id AND j.migration_id = %(migration)s AND q.batch_id IS NULL AND q.sqlstate = '23503';

-- name: set_aside
-- locks: ACCESS SHARE on {table} and {parent}, ROW EXCLUSIVE on tenantry.quarantine: one join beside every reader and writer.
INSERT INTO tenantry.quarantine (job_id, key, sqlstate, message)
SELECT %(job)s, {identity}, '23503', format('of %%s, and %%s names a row of %%s', t.{column}, %(key)s::text, r.{column})
FROM {table} AS t JOIN {parent} AS r ON {pairs}
WHERE t.{column} <> r.{column}
ON CONFLICT (job_id, key) DO NOTHING;
