-- name: is_standby
-- locks: none.
SELECT pg_is_in_recovery();

-- name: invalid_indexes
-- locks: ACCESS SHARE on the catalog; a read. Per table of the plan, of it and of its partitions: invalid indexes that
-- nobody builds. A partitioned index is invalid until each of its parts is attached, and says nothing by itself.
SELECT asked.name, count(*) FILTER (
    WHERE NOT i.indisvalid AND c.relkind = 'i'
      AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p WHERE p.index_relid = i.indexrelid))
FROM unnest(%(names)s::text[], %(tables)s::text[]) AS asked (name, identifier)
LEFT JOIN LATERAL (
    SELECT to_regclass(asked.identifier) AS oid UNION SELECT relid FROM pg_partition_tree(to_regclass(asked.identifier))
) AS part ON true
LEFT JOIN pg_index AS i ON i.indrelid = part.oid
LEFT JOIN pg_class AS c ON c.oid = i.indexrelid
GROUP BY asked.name;

-- name: lock_waits
-- locks: ACCESS SHARE on system views; a read. The lock manager is asked only while somebody waits: pg_locks and
-- pg_blocking_pids hold every partition of its table for a moment. Who waits behind one that waits behind ours counts too.
WITH RECURSIVE activity AS MATERIALIZED (
    SELECT pid, application_name LIKE 'tenantry %%' AS ours, wait_event_type, backend_type FROM pg_stat_activity
), waits AS MATERIALIZED (
    SELECT pid, min(waitstart) AS since FROM pg_locks
    WHERE NOT granted AND EXISTS (SELECT FROM activity WHERE wait_event_type = 'Lock' OR backend_type IS NULL)
    GROUP BY pid
), blocked AS MATERIALIZED (
    SELECT w.pid, b.blocker FROM waits AS w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (blocker)
), behind AS (
    SELECT b.pid FROM blocked AS b JOIN activity AS a ON a.pid = b.blocker WHERE a.ours
    UNION
    SELECT b.pid FROM blocked AS b JOIN behind ON behind.pid = b.blocker
)
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - w.since)) FILTER (
           WHERE NOT a.ours AND w.pid IN (SELECT pid FROM behind)), 0)::float8 AS application,
       coalesce(max(extract(epoch FROM clock_timestamp() - w.since)) FILTER (WHERE a.ours), 0)::float8 AS tenantry
FROM waits AS w JOIN activity AS a USING (pid);
