-- Who the tenants are, and which of them the application may treat as migrated.

-- name: activity_column
-- locks: ACCESS SHARE on the catalog; a read. The column that tells best when a row was last written, by its name.
SELECT a.attname FROM pg_attribute AS a JOIN unnest(%(names)s::text[]) WITH ORDINALITY AS known (name, place)
    ON known.name = a.attname
WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped
  AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
ORDER BY known.place LIMIT 1;

-- name: rows
-- locks: ACCESS SHARE on {table}; a read of all of it, by its index on the tenant where nothing else is asked.
SELECT {column}::text AS tenant, count(*) AS rows, {activity} AS last_activity FROM {table} GROUP BY 1;

-- name: create
-- locks: none on tables of anybody else; makes a schema with one table, which everybody may read.
CREATE SCHEMA IF NOT EXISTS tenantry_tenants;
CREATE TABLE IF NOT EXISTS tenantry_tenants.enabled (
    tenant text PRIMARY KEY,
    since  timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor  text NOT NULL
);
GRANT USAGE ON SCHEMA tenantry_tenants TO PUBLIC;
GRANT SELECT ON tenantry_tenants.enabled TO PUBLIC;

-- name: enable
-- locks: ROW EXCLUSIVE on a table of ours; the application only reads it.
INSERT INTO tenantry_tenants.enabled (tenant, actor) SELECT unnest(%(tenants)s::text[]), %(actor)s
ON CONFLICT (tenant) DO NOTHING RETURNING tenant;

-- name: disable
-- locks: ROW EXCLUSIVE on a table of ours; the application only reads it.
DELETE FROM tenantry_tenants.enabled WHERE tenant = ANY (%(tenants)s::text[]) RETURNING tenant;

-- name: is_there
-- locks: none.
SELECT to_regclass('tenantry_tenants.enabled') IS NOT NULL AS there;

-- name: enabled
-- locks: ACCESS SHARE on a table of ours; a read.
SELECT tenant, since FROM tenantry_tenants.enabled;
