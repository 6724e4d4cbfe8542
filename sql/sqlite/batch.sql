-- One batch, and what becomes of one that fails. Each is part of a short transaction that has the file's write lock.

-- name: fill
-- locks: none beside those of the batch's own transaction, which has the file's write lock for about the plan's `target`.
-- The range is walked by the rowid or the key; unary plus keeps an index on the tenant from being walked instead.
UPDATE {table} AS t{by_rowid} SET {tenant} = {value}{source}
WHERE {range} AND {unfinished} AND {resolved};

-- name: explain
-- locks: none; the schema is read, and no row. Asked after a batch failed: whether it would whatever its rows are.
EXPLAIN {statement};

-- name: left
-- locks: none; a read of one batch's range. How many rows are still to be written.
SELECT count(*) FROM {table} AS t{by_rowid} WHERE {range} AND {unfinished};

-- name: middle
-- locks: none; a read of one batch's range, as far as the row in the middle of those that are still to be written.
SELECT {key} FROM {table} AS t{by_rowid} WHERE {range} AND {unfinished} ORDER BY {order} LIMIT 1 OFFSET :before;

-- name: data_version
-- locks: none. It changes with each transaction that another connection commits.
PRAGMA data_version;

-- name: synchronous
-- locks: none. How this connection's transactions come to the disk: NORMAL may lose the last of them with the power, data and
-- ledger together, and tears none apart (in WAL mode); FULL waits for each.
PRAGMA synchronous = {how};

-- name: checkpoint_by_itself
-- locks: none. After how many pages in the WAL a commit of this connection copies them into the file.
PRAGMA wal_autocheckpoint = {pages};

-- name: checkpoint
-- locks: none that a reader or writer waits for: PASSIVE copies into the file what nobody reads any more, between two batches.
PRAGMA wal_checkpoint(PASSIVE);

-- name: cache
-- locks: none. Memory for pages of this connection, in KiB where negative: a batch's pages stay there until it commits.
PRAGMA cache_size = {size};
