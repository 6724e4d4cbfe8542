-- name: sample
-- locks: ACCESS SHARE on system views; reads.
-- What is written and what each standby has replayed, for lag in time from our own samples (`replay_lag` freezes
-- when idle); sessions of others that wait behind ours; the oldest snapshot.
WITH waiting AS (
    SELECT a.pid FROM pg_stat_activity AS a
    WHERE a.wait_event_type = 'Lock' AND a.application_name NOT LIKE 'tenantry %%' AND EXISTS (
        SELECT FROM pg_stat_activity AS ours
        WHERE ours.application_name LIKE 'tenantry %%' AND ours.pid = ANY (pg_blocking_pids(a.pid)))
)
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 AS written,
       coalesce((SELECT jsonb_object_agg(application_name, pg_wal_lsn_diff(replay_lsn, '0/0')::float8)
                 FROM pg_stat_replication WHERE replay_lsn IS NOT NULL), '{{}}') AS replayed,
       (SELECT count(*) FROM waiting) AS waiting,
       coalesce((SELECT extract(epoch FROM max(clock_timestamp() - xact_start)) FROM pg_stat_activity
                 WHERE backend_xmin IS NOT NULL AND datname = current_database() AND pid <> pg_backend_pid()
                   AND application_name NOT LIKE 'tenantry %%'), 0)::float8 AS snapshot;

-- name: replication
-- locks: ACCESS SHARE on a system view; a read.
SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn))::float8 AS bytes,
       max(extract(epoch FROM replay_lag))::float8 AS seconds
FROM pg_stat_replication;

-- name: workers
-- locks: ACCESS SHARE on a system view; a read. A worker's connections all bear its name.
SELECT count(DISTINCT application_name) FROM pg_stat_activity
WHERE application_name LIKE 'tenantry worker %' AND datname = current_database();
