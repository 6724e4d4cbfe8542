-- Who the tenants are, and which of them the application may treat as migrated.

-- name: rows
-- locks: none; a read of all of {table}, by its index on the tenant where nothing else is asked.
SELECT {column} AS tenant, count(*) AS rows, {activity} AS last_activity FROM {table} GROUP BY 1;

-- name: create
-- locks: the file's write lock, for an empty table of ours.
CREATE TABLE IF NOT EXISTS tenantry_enabled (
    tenant TEXT PRIMARY KEY NOT NULL,
    since  REAL NOT NULL,
    actor  TEXT NOT NULL
) WITHOUT ROWID;

-- name: enable
-- locks: the file's write lock, for a few rows.
INSERT INTO tenantry_enabled (tenant, since, actor) SELECT value, :now, :actor FROM json_each(:tenants) WHERE 1
ON CONFLICT (tenant) DO NOTHING RETURNING tenant;

-- name: disable
-- locks: the file's write lock, for a few rows.
DELETE FROM tenantry_enabled WHERE tenant IN (SELECT value FROM json_each(:tenants)) RETURNING tenant;

-- name: is_there
-- locks: none; a read of the schema.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tenantry_enabled') AS there;

-- name: enabled
-- locks: none; a read.
SELECT tenant, since FROM tenantry_enabled;
