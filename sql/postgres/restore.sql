-- What `restore` asks before a backup goes into a database, and does after.

-- name: tables
-- locks: ACCESS SHARE on the catalog. Tables as `pg_restore --list` names them: schema, name, nothing quoted.
SELECT format('%s %s', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1;

-- name: migrations
-- locks: ACCESS SHARE on tenantry.migrations. Those that the ledger knows, one of which may be running.
SELECT name FROM tenantry.migrations ORDER BY 1;

-- name: drop_ours
-- locks: ACCESS EXCLUSIVE on what is ours alone. The tables that used it have just been made anew, without it.
DROP SCHEMA IF EXISTS tenantry, tenantry_guard, tenantry_rls CASCADE;

-- name: analyze
-- locks: SHARE UPDATE EXCLUSIVE on each table in turn. A dump holds no statistics.
ANALYZE;

-- name: running
-- locks: none. This very server since its start: a copy of its files is another.
SELECT format('%s since %s', (SELECT system_identifier FROM pg_control_system()), pg_postmaster_start_time());
