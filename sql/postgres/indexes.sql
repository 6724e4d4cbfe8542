-- name: create_index
-- locks: SHARE UPDATE EXCLUSIVE on {table}: nobody reads or writes slower for it but by its I/O. It waits for
-- every transaction older than itself, so it runs without time limits and the one it waits for is named.
CREATE {unique}INDEX CONCURRENTLY {name} ON {table} ({columns}){include}{nulls}{options}{tablespace}{predicate}

-- name: drop_index
-- locks: SHARE UPDATE EXCLUSIVE on the table; it waits for the transactions that still use the index. IF EXISTS: it
-- may be what an earlier walk left.
DROP INDEX CONCURRENTLY IF EXISTS {name}

-- name: create_index_on_only
-- locks: SHARE on {table}, a partitioned one, for milliseconds: writers wait, readers don't. ON ONLY: no partition is
-- locked or read, and the index is invalid until every partition's own is attached.
CREATE INDEX {name} ON ONLY {table} ({columns}){include}

-- name: attach_index
-- locks: ACCESS EXCLUSIVE on the partition's index and ACCESS SHARE on its table, SHARE UPDATE EXCLUSIVE on the index
-- above, for milliseconds: who plans a query on the partition waits. No row is read.
ALTER INDEX {name} ATTACH PARTITION {part}

-- name: drop_partitioned_index
-- locks: ACCESS EXCLUSIVE on the table and all its partitions, for milliseconds: the server drops no partitioned index
-- concurrently, and no part of it alone. No row is read.
DROP INDEX IF EXISTS {name}

-- name: builds
-- locks: none on tables; it reads what the server tells of its sessions. The indexes that the sessions with this
-- migration build now: their progress, for how long the statement runs, and whom it waits for.
SELECT p.relid::regclass::text AS "table", nullif(p.index_relid, 0)::regclass::text AS index, p.phase,
       p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total,
       extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS seconds,
       p.lockers_done, p.lockers_total,
       w.pid, w.usename AS "user", w.application_name AS application,
       extract(epoch FROM clock_timestamp() - coalesce(w.xact_start, w.query_start))::float8 AS age,
       w.state, left(regexp_replace(w.query, '\s+', ' ', 'g'), 80) AS query
FROM tenantry.migrations AS m
JOIN pg_locks AS l ON l.locktype = 'advisory'
  AND l.classid IN (
    (hashtext('tenantry')::bigint & 4294967295)::oid, (hashtext('tenantry lane')::bigint & 4294967295)::oid
  )
  AND l.objid = (hashtext(m.name)::bigint & 4294967295)::oid AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
JOIN pg_stat_progress_create_index AS p ON p.pid = l.pid
JOIN pg_stat_activity AS a ON a.pid = p.pid
LEFT JOIN pg_stat_activity AS w ON w.pid = nullif(p.current_locker_pid, 0)
WHERE m.id = %(migration)s
ORDER BY p.pid
