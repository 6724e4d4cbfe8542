-- name: create_index
-- locks: SHARE UPDATE EXCLUSIVE on {table}: nobody reads or writes slower for it but by its I/O. It waits for
-- every transaction older than itself, so it runs without time limits and the one it waits for is named.
CREATE {unique}INDEX CONCURRENTLY {name} ON {table} ({columns}){include}{options}{tablespace}

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
