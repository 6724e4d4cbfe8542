-- name: bound
-- locks: none. Bounds the statements that follow in the transaction, in milliseconds; JIT would take longer than they.
SELECT set_config('statement_timeout', %(ms)s::text, true), set_config('lock_timeout', %(ms)s::text, true),
       set_config('jit', 'off', true);

-- name: forbid_writing
-- locks: none. For the plan's own query: after a transaction's first snapshot the server lets nobody take this back.
SELECT set_config('transaction_read_only', 'on', true);

-- name: ask_query
-- locks: those of the plan's own query: ACCESS SHARE on what it reads. A cursor is for a SELECT alone: no COMMIT, COPY
-- or SET gets in, nor a second statement, for this is sent by the extended protocol.
DECLARE plan_query NO SCROLL CURSOR FOR {query};

-- name: answer_of_query
-- locks: ACCESS SHARE as above; no more than two rows of it.
FETCH 2 FROM plan_query;

-- name: timeline
-- locks: none. It grows by one whenever a standby becomes the primary.
SELECT ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline;

-- name: standbys
-- locks: ACCESS SHARE on system views; a read. A standby's name is that of its slot, and without one its
-- application_name; what it has replayed is NULL where this role may not see it.
-- Only those that tell what they have replayed: pg_basebackup and pg_receivewal never do. No logical subscribers: what
-- they have not confirmed is held by their slot, which is a signal of its own, and many confirm once a minute by design.
SELECT coalesce(s.slot_name, r.application_name)::text AS name, r.pid,
       pg_wal_lsn_diff(r.replay_lsn, '0/0')::float8 AS replayed
FROM pg_stat_replication AS r LEFT JOIN pg_replication_slots AS s ON s.active_pid = r.pid
WHERE s.slot_type IS DISTINCT FROM 'logical' AND (r.replay_lsn IS NOT NULL OR r.state IS NULL);

-- name: sample
-- locks: ACCESS SHARE on system views and the ledger; reads. Who waits behind whom is asked of the lock manager only
-- while somebody waits: pg_locks and pg_blocking_pids hold every partition of its table for a moment.
-- Of another role's session, without pg_read_all_stats, only pid, database, role, name and ids are seen: its
-- backend_type is NULL. Its locks are seen all the same.
WITH RECURSIVE activity AS MATERIALIZED (
    SELECT pid, usesysid, application_name, backend_type, wait_event_type, xact_start, backend_xid, backend_xmin, state,
           state_change, datid, datname = current_database() AS here, application_name LIKE 'tenantry %%' AS ours
    FROM pg_stat_activity
), waits AS MATERIALIZED (
    SELECT pid, min(waitstart) AS since FROM pg_locks
    WHERE NOT granted AND EXISTS (
        SELECT FROM activity WHERE NOT ours AND (wait_event_type = 'Lock' OR backend_type IS NULL))
    GROUP BY pid
), blocked AS MATERIALIZED (
    SELECT w.pid, b.blocker FROM waits AS w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (blocker)
), behind AS (
    -- Who waits behind one that waits behind ours counts too: an application's DDL gathers everybody behind it.
    SELECT b.pid FROM blocked AS b JOIN activity AS a ON a.pid = b.blocker WHERE a.ours
    UNION
    SELECT b.pid FROM blocked AS b JOIN behind ON behind.pid = b.blocker
), waiting AS (
    -- Autovacuum, which has no role, can wait.
    SELECT format('pid %%s, %%s', a.pid, a.application_name) AS who,
           coalesce(extract(epoch FROM clock_timestamp() - w.since), 0)::float8 AS seconds
    FROM behind JOIN waits AS w USING (pid) JOIN activity AS a USING (pid)
    WHERE NOT a.ours AND a.usesysid IS NOT NULL
), open AS (
    -- A transaction of another database counts once it has an id: snapshots in this one take in that it runs. What a
    -- VACUUM sees holds back no pruning, so the server leaves it out as well; that of an ANALYZE does.
    SELECT format('pid %%s, %%s, %%s', pid, coalesce(nullif(application_name, ''), backend_type), state) AS who,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds,
           coalesce(backend_xid, backend_xmin) IS NOT NULL AS sees
    FROM activity
    WHERE NOT ours AND xact_start IS NOT NULL AND (here OR backend_xid IS NOT NULL)
      AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
    UNION ALL
    SELECT format('prepared transaction %%s', gid), extract(epoch FROM clock_timestamp() - prepared)::float8, true
    FROM pg_prepared_xacts
), filling AS MATERIALIZED (
    SELECT c.oid, c.reltoastrelid, c.reltuples, j.part
    FROM tenantry.jobs AS j JOIN pg_class AS c ON c.oid = to_regclass(j.part)
    WHERE j.state = 'running' AND EXISTS (
        SELECT FROM tenantry.batches AS b WHERE b.job_id = j.id AND b.state = 'pending')
), vacuums AS (
    SELECT format('VACUUM of %%s, pid %%s', f.part, p.pid) AS what
    FROM pg_stat_progress_vacuum AS p JOIN filling AS f ON p.relid IN (f.oid, f.reltoastrelid)
    WHERE p.datname = current_database()
    UNION ALL
    SELECT format('ANALYZE of %%s, pid %%s', f.part, p.pid)
    FROM pg_stat_progress_analyze AS p JOIN filling AS f ON f.oid IN (p.relid, p.current_child_table_relid)
    WHERE p.datname = current_database()
), dead AS (
    -- Rows that live are not counted any more after a crash or pg_upgrade, until the next ANALYZE: of a table of
    -- millions the first hundred updates would be all there is, every one of them dead. One that was loaded a
    -- moment ago has not been counted at all, which held its backfill for ten seconds.
    SELECT part, pg_stat_get_dead_tuples(oid)
                 / nullif(pg_stat_get_dead_tuples(oid) + greatest(pg_stat_get_live_tuples(oid), reltuples), 0) AS share
    FROM filling WHERE reltuples >= 0
)
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS written,
       quote_ident(current_user) AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all,
       has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE') AS lists_archive,
       (SELECT count(*) FROM waiting) AS waiting, waited.seconds AS waited, waited.who AS waited_who,
       transaction.seconds AS transaction, transaction.who AS transaction_who,
       snapshot.seconds AS snapshot, snapshot.who AS snapshot_who,
       vacuumed.number AS vacuums, vacuumed.what AS vacuums_what,
       dead.share::float8 AS dead, dead.part AS dead_part,
       slot.bytes AS slot_bytes, slot.slot_name::text AS slot, slot.active AS slot_active,
       current_setting('archive_mode') <> 'off' AS archives,
       coalesce(archiver.last_failed_time > coalesce(archiver.last_archived_time, '-infinity'), false) AS archive_fails,
       archiver.last_failed_wal AS archive_failed_file,
       extract(epoch FROM clock_timestamp() - coalesce(archiver.last_archived_time, archiver.stats_reset))::float8
           AS since_archived,
       EXISTS (SELECT FROM activity WHERE here AND NOT ours AND coalesce(backend_type = 'client backend', true)
               AND coalesce(state = 'active' OR state_change > clock_timestamp() - interval '5 s', true)) AS others,
       connections.used AS connections_used, connections.most AS connections_most
FROM pg_stat_archiver AS archiver
CROSS JOIN (SELECT count(*) AS number, string_agg(what, '; ') AS what FROM vacuums) AS vacuumed
CROSS JOIN (
    -- A hidden session with a role and a database is somebody's connection, or one of its parallel workers.
    SELECT count(*) FILTER (WHERE coalesce(backend_type = 'client backend', usesysid IS NOT NULL AND datid IS NOT NULL))
               AS used,
           current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
               - coalesce(current_setting('reserved_connections', true)::integer, 0) AS most
    FROM activity) AS connections
LEFT JOIN (SELECT * FROM waiting ORDER BY seconds DESC LIMIT 1) AS waited ON true
LEFT JOIN (SELECT * FROM open ORDER BY seconds DESC LIMIT 1) AS transaction ON true
LEFT JOIN (SELECT * FROM open WHERE sees ORDER BY seconds DESC LIMIT 1) AS snapshot ON true
LEFT JOIN (SELECT * FROM dead ORDER BY share DESC NULLS LAST LIMIT 1) AS dead ON true
LEFT JOIN (
    -- Of a lost slot the WAL is gone.
    SELECT slot_name, active, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 AS bytes
    FROM pg_replication_slots WHERE restart_lsn IS NOT NULL AND wal_status IS DISTINCT FROM 'lost'
    ORDER BY restart_lsn LIMIT 1) AS slot ON true;

-- name: small_commit
-- locks: none. A record of a few bytes that nobody reads, for the wait until it is on disk: as the application's
-- commits wait, whatever the batches before it on this connection were told.
SELECT set_config('synchronous_commit', 'on', true), pg_logical_emit_message(true, 'tenantry', '');

-- name: archive
-- locks: none; lists a folder of the server. The archiver takes the oldest file first: the file that fails was ready
-- when the failing began, or just before.
SELECT count(*) AS files, min(name) AS first,
       extract(epoch FROM clock_timestamp() - max(modification) FILTER (WHERE name = %(failed)s || '.ready'))::float8
           AS failing
FROM pg_ls_archive_statusdir() WHERE name LIKE '%%.ready';

-- name: workers
-- locks: ACCESS SHARE on a system view; a read. A worker's connections all bear its name.
SELECT count(DISTINCT application_name) FROM pg_stat_activity
WHERE application_name LIKE 'tenantry worker %' AND datname = current_database();

-- name: each_worker
-- locks: ACCESS SHARE on a system view; a read. As above, a row for each: whether it is at a statement, and for how long
-- it has not been, in seconds; NULL where this role may not see that.
SELECT substr(application_name, 17) AS worker, bool_or(state <> 'idle') AS at_work,
       extract(epoch FROM clock_timestamp() - max(state_change))::float8 AS seconds
FROM pg_stat_activity WHERE application_name LIKE 'tenantry worker %' AND datname = current_database()
GROUP BY application_name ORDER BY application_name;
