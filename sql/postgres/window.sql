-- name: sessions
-- locks: ACCESS SHARE on system views; a read. Who is connected here and may read or write one of the tables, and
-- prepared transactions, which may hold locks on them; not ours. Of other roles' sessions a role without pg_monitor sees
-- little more than that they are there.
WITH tables AS (SELECT named.oid::oid FROM unnest(%(tables)s::regclass[]) AS named (oid))
SELECT a.pid, a.usename, a.application_name,
       extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change, a.backend_start))::float8 AS age,
       a.state, left(regexp_replace(a.query, '\s+', ' ', 'g'), 80)
FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usesysid IS NOT NULL AND a.pid <> pg_backend_pid()
  AND coalesce(a.backend_type, 'client backend') = 'client backend' AND a.application_name NOT LIKE 'tenantry %%'
  AND EXISTS (SELECT FROM tables WHERE has_table_privilege(a.usesysid, tables.oid, 'SELECT, INSERT, UPDATE, DELETE'))
UNION ALL
SELECT NULL, p.owner, p.gid, extract(epoch FROM clock_timestamp() - p.prepared)::float8, 'prepared', NULL
FROM pg_prepared_xacts AS p WHERE p.database = current_database()
ORDER BY 2, 3, 1;
