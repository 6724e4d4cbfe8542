-- name: limit_transaction
-- locks: none; for the transaction that runs.
SELECT set_config('lock_timeout', %(lock_timeout)s, true), set_config('statement_timeout', %(statement_timeout)s, true)

-- name: lift_limits
-- locks: none; for the session, around CONCURRENTLY and VALIDATE: under a time limit they die on any old
-- transaction and leave an invalid index.
SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false)

-- name: restore_limits
-- locks: none; the session's own limits again.
RESET lock_timeout;
RESET statement_timeout

-- name: announce
-- locks: SHARE UPDATE EXCLUSIVE on {tables}; cancels an autovacuum that is at work there, and makes no reader or
-- writer wait.
LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE

-- name: hold
-- locks: that of the step, ACCESS EXCLUSIVE or SHARE ROW EXCLUSIVE, on {tables} and their partitions; under a
-- statement_timeout of at most half a second: all waiting together is that long, and whoever waits behind it waits no longer.
LOCK TABLE {tables} IN {lock} MODE

-- name: holders
-- locks: none on tables; it reads the server's lock table. Who holds a lock on one of the tables that stands
-- in the way of the mode wanted, or on one of their partitions; the oldest transaction first; pid is NULL for a
-- prepared transaction.
WITH RECURSIVE locked (oid) AS (
  SELECT named.oid::oid FROM unnest(%(tables)s::regclass[]) AS named (oid)
  UNION
  SELECT i.inhrelid FROM locked JOIN pg_inherits AS i ON i.inhparent = locked.oid
)
SELECT DISTINCT ON (age, l.pid)
  l.pid,
  a.usename,
  a.application_name,
  extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8 AS age,
  a.state,
  left(regexp_replace(a.query, '\s+', ' ', 'g'), 80)
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT oid FROM locked)
  AND l.mode = ANY (%(modes)s)
  AND l.granted
  AND l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY age DESC NULLS FIRST, l.pid

-- name: terminate
-- locks: none on tables. Ends the sessions among `pids` that are still in a transaction of at least `age` seconds: only
-- an application's, never replication, a vacuum of the server's own, or one of ours.
SELECT a.pid, pg_terminate_backend(a.pid)
FROM pg_stat_activity AS a
WHERE a.pid = ANY (%(pids)s) AND a.backend_type = 'client backend' AND a.application_name NOT LIKE 'tenantry %%'
  AND clock_timestamp() - a.xact_start >= make_interval(secs => %(age)s)

-- name: blockers
-- locks: none on tables; pg_blocking_pids stops the lock manager for a moment, so it is asked twice a second
-- at most. Whom the session of %(pid)s waits for, the oldest transaction first; 0 is a prepared transaction.
SELECT
  nullif(b.pid, 0),
  a.usename,
  a.application_name,
  extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.query_start))::float8 AS age,
  a.state,
  left(regexp_replace(a.query, '\s+', ' ', 'g'), 80)
FROM (SELECT DISTINCT unnest(pg_blocking_pids(%(pid)s))) AS b (pid)
LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
ORDER BY age DESC NULLS FIRST, b.pid
