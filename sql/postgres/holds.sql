-- name: waiting
-- locks: ACCESS SHARE on the ledger; a read, by the index of what is pending.
-- Batches that were tried and could not be done, by job and code. What was left because somebody held its rows is a
-- new batch without an error of its own: it waits for a lock.
WITH ours AS (
    SELECT id, table_name, part, count(*) OVER (PARTITION BY table_name) > 1 AS parted
    FROM tenantry.jobs WHERE migration_id = %(migration)s
)
SELECT ours.table_name AS "table", ours.part, ours.parted,
       coalesce(b.sqlstate, CASE b.origin WHEN 'rest' THEN '55P03' END) AS sqlstate,
       count(*) AS batches,
       (array_agg(b.error ORDER BY b.not_before DESC) FILTER (WHERE b.error IS NOT NULL))[1] AS error,
       min(coalesce(b.waiting_since, b.created_at)) AS since,
       min(b.not_before) AS next_try_at
FROM ours JOIN tenantry.batches AS b ON b.job_id = ours.id
WHERE b.state = 'pending' AND (b.attempts > 0 OR b.lost > 0)
GROUP BY ours.id, ours.table_name, ours.part, ours.parted, 4 ORDER BY ours.id, 4;

-- name: blockers
-- locks: none on tables; it reads the server's lock table. pg_blocking_pids stops the lock manager for a moment: it is
-- asked only for workers of ours that wait right now.
-- Per part, the oldest transactions that may hold rows of it; those that a worker waits for right now come first, and
-- are certain. SHARE UPDATE EXCLUSIVE is left out: a vacuum and CREATE INDEX CONCURRENTLY hold no row.
WITH waited_for AS MATERIALIZED (
    SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid FROM pg_stat_activity AS w
    WHERE w.datname = current_database() AND w.application_name LIKE 'tenantry worker %%' AND w.wait_event_type = 'Lock'
), holders AS (
    SELECT DISTINCT wanted.part, l.pid, a.usename, a.application_name, a.state,
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8 AS age,
           left(regexp_replace(a.query, '\s+', ' ', 'g'), 80) AS query,
           coalesce(l.pid, 0) IN (SELECT pid FROM waited_for) AS certain
    FROM unnest(%(parts)s::text[]) AS wanted (part)
    JOIN pg_locks AS l ON l.relation = to_regclass(wanted.part)
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode IN ('RowShareLock', 'RowExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                     'AccessExclusiveLock')
      AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND coalesce(a.application_name, '') NOT LIKE 'tenantry worker %%'
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY part ORDER BY certain DESC, age DESC NULLS FIRST, pid) AS place
    FROM holders
)
SELECT part, certain, pid, usename AS "user", application_name AS application, age, state, query
FROM ranked WHERE place <= %(most)s ORDER BY part, place;

-- name: rights
-- locks: ACCESS SHARE on the catalog; a read. Whether this role is told what other roles' sessions do.
SELECT quote_ident(current_user) AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS sees_all;

-- name: stopped
-- locks: ACCESS SHARE on tenantry.jobs; a read. Jobs that stopped themselves.
SELECT table_name AS "table", part, count(*) OVER (PARTITION BY table_name) > 1 AS parted, reason
FROM tenantry.jobs WHERE migration_id = %(migration)s AND state = 'stopped' ORDER BY id;

-- name: set_aside
-- locks: ACCESS SHARE on tenantry.quarantine and tenantry.jobs; a read. The first rows that are set aside.
WITH ours AS (
    SELECT id, table_name, part, count(*) OVER (PARTITION BY table_name) > 1 AS parted, spec -> 'key' AS columns
    FROM tenantry.jobs WHERE migration_id = %(migration)s
)
SELECT ours.table_name AS "table", ours.part, ours.parted, ours.columns, q.key, q.sqlstate, q.message,
       q.created_at AS since
FROM tenantry.quarantine AS q JOIN ours ON ours.id = q.job_id ORDER BY q.id LIMIT %(most)s;
