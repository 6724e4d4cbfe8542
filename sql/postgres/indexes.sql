-- name: create_index
-- locks: SHARE UPDATE EXCLUSIVE on {table}: nobody reads or writes slower for it but by its I/O. It waits for
-- every transaction older than itself, so it runs without time limits and the one it waits for is named.
CREATE {unique}INDEX CONCURRENTLY {name} ON {table} ({columns}){include}{options}{tablespace}

-- name: drop_index
-- locks: SHARE UPDATE EXCLUSIVE on the table; it waits for the transactions that still use the index. IF EXISTS: it
-- may be what an earlier walk left.
DROP INDEX CONCURRENTLY IF EXISTS {name}
