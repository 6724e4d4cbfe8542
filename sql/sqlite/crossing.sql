-- Rows that name another tenant's by a foreign key, which no key with the tenant in it can hold.

-- name: count
-- locks: none; a read of both tables.
SELECT count(*) FROM {table} AS t JOIN {parent} AS r ON {pairs} WHERE t.{column} <> r.{column};

-- name: crossing
-- locks: none; a read of both tables, by one snapshot.
SELECT {key}, t.{column} AS ours, r.{column} AS theirs FROM {table} AS t JOIN {parent} AS r ON {pairs}
WHERE t.{column} <> r.{column};

-- name: forget
-- locks: the file's write lock, for what of a migration was set aside for it before: no batch of its own failed.
DELETE FROM tenantry_quarantine WHERE batch_id IS NULL AND sqlstate = '23503' AND job_id IN (
    SELECT id FROM tenantry_jobs WHERE migration_id = :migration);

-- name: set_aside
-- locks: none beside those of its transaction, which is of a few hundred rows.
INSERT INTO tenantry_quarantine (job_id, key, sqlstate, message, created_at)
VALUES (:job, :key, '23503', :message, :now) ON CONFLICT (job_id, key) DO NOTHING;
