-- name: updates
-- locks: ACCESS SHARE on system views; a read. Updates of a table so far, and how many of them stayed in their page.
SELECT n_tup_upd::bigint AS updated, n_tup_hot_upd::bigint AS heap_only
FROM pg_stat_user_tables WHERE schemaname = %(schema)s AND relname = %(table)s;

-- name: try_migration_lock
-- locks: an advisory lock, asked for and not waited for: a second run is told, not queued.
SELECT pg_try_advisory_lock(hashtext('tenantry'), hashtext(%(name)s));

-- name: migration_lock_holder
-- locks: ACCESS SHARE on system views; a read.
SELECT a.pid, coalesce(a.client_addr::text, 'local') AS host, a.backend_start
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.classid = (hashtext('tenantry')::bigint & 4294967295)::oid
  AND l.objid = (hashtext(%(name)s)::bigint & 4294967295)::oid AND l.granted;
