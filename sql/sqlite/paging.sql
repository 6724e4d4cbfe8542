-- Cutting a table into ranges of its rowid or its key, and the scans that prove that nothing is left.

-- name: last_key
-- locks: none; a read of one entry.
SELECT {key} FROM {table} AS t ORDER BY {backwards} LIMIT 1;

-- name: edge
-- locks: none; a read as far as one range goes. Bounds come from an ordered SELECT and are stored before any update. OFFSET steps
-- over the rows between two bounds; numbering them took as long as all updates (0.8 s for 900,000 rows).
SELECT {key} FROM {table} AS t{by_rowid} WHERE {range} ORDER BY {order} LIMIT 1 OFFSET :between;

-- name: count_rows
-- locks: none; a read of the smallest index, or of the table.
SELECT count(*) FROM {table};

-- name: unfilled
-- locks: none; the scan that proves completion.
SELECT count(*) FROM {table} AS t WHERE {unfinished};

-- name: left
-- locks: none; a read of the table, by one snapshot. Rows that are still to be written, in the order of the key. CASE, for a row
-- that is in quarantine already may be there because its source fails, and must not be asked again.
SELECT {key} FROM {table} AS t
WHERE {unfinished} AND CASE
    WHEN json_array({texts}) IN (SELECT json(q.key) FROM tenantry_quarantine AS q WHERE q.job_id = :job) THEN 0
    ELSE {wanted} END
ORDER BY {order} LIMIT :most;

-- name: set_aside
-- locks: none beside those of its transaction, which is of a few hundred rows. The row is looked at again: it was read without
-- a lock, and may have its tenant meanwhile.
INSERT INTO tenantry_quarantine (job_id, key, sqlstate, message, created_at)
SELECT :job, :key, '', 'its source gives it no tenant', :now FROM {table} AS t WHERE {is_it} AND {unfinished}
ON CONFLICT (job_id, key) DO NOTHING;

-- name: primary_key
-- locks: none; a read of the schema. The primary key that a table was declared with.
SELECT name, '' AS type FROM pragma_table_info(:table) WHERE pk ORDER BY pk;

-- name: at
-- locks: none; a read of one row, by where it lies.
SELECT {key} FROM {table} AS t WHERE {rowid} = :rowid;

-- name: below
-- locks: none; a read of one entry. The key right below another.
SELECT {key} FROM {table} AS t WHERE {range} ORDER BY {backwards} LIMIT 1;

-- name: key_order
-- locks: none; a read of the schema. The key of a table without rowids, in its own order.
SELECT x.name, x.coll AS collation FROM pragma_index_list(:table) AS l, pragma_index_xinfo(l.name) AS x
WHERE l.origin = 'pk' AND x.key ORDER BY x.seqno;

-- name: walked
-- locks: none; the planner is asked how it would walk the table, and nothing is read.
EXPLAIN QUERY PLAN SELECT 1 FROM {table} AS t WHERE {range} ORDER BY {order};
