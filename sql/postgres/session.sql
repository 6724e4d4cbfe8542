-- name: updates
-- locks: ACCESS SHARE on system views; a read. Updates of a table so far, and how many of them stayed in their page.
SELECT n_tup_upd::bigint AS updated, n_tup_hot_upd::bigint AS heap_only
FROM pg_stat_user_tables WHERE schemaname = %(schema)s AND relname = %(table)s;

-- name: updates_since
-- locks: ACCESS SHARE on the ledger and the catalog; a read. Per job, updates of its table since it began and how many
-- of them stayed in their page. The counters are asked for by oid: the view over all tables takes 1 ms per 400 tables.
SELECT j.id AS job, pg_stat_get_tuples_updated(c.oid) - kept.updated AS updated,
       pg_stat_get_tuples_hot_updated(c.oid) - kept.heap_only AS heap_only
FROM tenantry.migrations AS m JOIN tenantry.jobs AS j ON j.migration_id = m.id
JOIN pg_class AS c ON c.oid = to_regclass(j.part)
CROSS JOIN LATERAL jsonb_to_record(m.memory -> ('updates of ' || j.part)) AS kept (updated bigint, heap_only bigint)
WHERE m.id = %(migration)s AND kept.updated IS NOT NULL;

-- name: try_migration_lock
-- locks: an advisory lock, asked for and not waited for: a second run is told, not queued.
SELECT pg_try_advisory_lock(hashtext('tenantry'), hashtext(%(name)s));

-- name: leave_migration
-- locks: gives an advisory lock back that this session has.
SELECT pg_advisory_unlock(hashtext('tenantry'), hashtext(%(name)s));

-- name: join_migration
-- locks: an advisory lock, shared, for as long as the session lasts; only the controller that has the migration has its
-- further sessions take it, and only one that has just got the migration asks for it alone, so nobody ever waits.
SELECT pg_try_advisory_lock_shared(hashtext('tenantry lane'), hashtext(%(name)s));

-- name: lanes_are_over
-- locks: the same advisory lock alone, asked for and given back with the statement's end.
SELECT pg_try_advisory_xact_lock(hashtext('tenantry lane'), hashtext(%(name)s));

-- name: try_outbox_lock
-- locks: an advisory lock, asked for and not waited for, on a session that does nothing else: who has it sends, and no
-- transaction is open meanwhile.
SELECT pg_try_advisory_lock(hashtext('tenantry outbox'), hashtext(%(name)s));

-- name: migration_lock_holder
-- locks: ACCESS SHARE on system views; a read. An advisory lock is its database's, and the server's other databases
-- may have migrations of that name. Of several sessions the first one to come.
SELECT a.pid, coalesce(a.client_addr::text, 'local') AS host, a.backend_start
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory'
  AND l.classid IN (
    (hashtext('tenantry')::bigint & 4294967295)::oid, (hashtext('tenantry lane')::bigint & 4294967295)::oid
  )
  AND l.objid = (hashtext(%(name)s)::bigint & 4294967295)::oid AND l.granted AND l.pid <> pg_backend_pid()
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY a.backend_start, a.pid LIMIT 1;

-- name: cut_short
-- locks: ACCESS SHARE on tenantry.migrations and on system views; a read. Cancels the statements of the sessions that
-- have the cancelled migration, the controller's and its lanes', of those that have run for `seconds`; the sessions stay.
-- Not in WHERE, which might be asked of every session before it is joined.
SELECT pg_cancel_backend(a.pid)
FROM tenantry.migrations AS m
JOIN pg_locks AS l ON l.locktype = 'advisory'
  AND l.classid IN (
    (hashtext('tenantry')::bigint & 4294967295)::oid, (hashtext('tenantry lane')::bigint & 4294967295)::oid
  )
  AND l.objid = (hashtext(m.name)::bigint & 4294967295)::oid AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
JOIN pg_stat_activity AS a ON a.pid = l.pid AND a.state = 'active'
  AND clock_timestamp() - a.query_start >= make_interval(secs => %(seconds)s)
WHERE m.id = %(migration)s AND m.state = 'cancelled';
