-- name: last_key
-- locks: ACCESS SHARE on {table}; a read of one index entry.
SELECT {key_texts} FROM {table} AS t ORDER BY {key_descending} LIMIT 1;

-- name: edges
-- locks: ACCESS SHARE on {table}; a read of the key's index, as far as one group of ranges goes.
-- Bounds come from an ordered SELECT and are stored before any update (pgroll#908 took them from RETURNING).
SELECT key FROM (
    SELECT {key_texts} AS key, row_number() OVER (ORDER BY {key}) AS n
    FROM {table} AS t WHERE {range} ORDER BY {key} LIMIT %(rows)s
) AS walked
WHERE n %% %(width)s = 0 ORDER BY n;

-- name: estimate
-- locks: ACCESS SHARE on the catalog; a read. -1 where the table was never analysed.
SELECT reltuples::bigint FROM pg_class WHERE oid = %(oid)s;

-- name: count
-- locks: ACCESS SHARE on {table}; a read.
SELECT count(*) FROM {table};

-- name: correlation
-- locks: ACCESS SHARE on the catalog; a read. Near 1 where the key follows the heap.
SELECT correlation FROM pg_stats
WHERE schemaname = %(schema)s AND tablename = %(table)s AND attname = %(column)s;

-- name: set_aside
-- locks: ACCESS SHARE on {table} and on what the tenant is read from, ROW EXCLUSIVE on tenantry.quarantine; part of the
-- scan that proves completion. In one statement: row by row, 100,000 of them took 100 scans of the table.
INSERT INTO tenantry.quarantine (job_id, key, sqlstate, message)
SELECT %(job)s, {key_texts}, '', 'its source gives it no tenant'
FROM {table} AS t
WHERE {unfilled} AND NOT EXISTS (SELECT {from_source} WHERE {resolved})
ON CONFLICT (job_id, key) DO NOTHING;

-- name: stragglers
-- locks: ACCESS SHARE on {table} and on what the tenant is read from; the scan that proves completion.
-- Rows that still need the tenant that their source gives them, and are not in quarantine.
SELECT {key_texts} AS key
FROM {table} AS t
WHERE {unfilled} AND EXISTS (SELECT {from_source} WHERE {resolved}) AND NOT EXISTS (
    SELECT FROM tenantry.quarantine AS q WHERE q.job_id = %(job)s AND q.key = {key_texts})
LIMIT %(most)s;

-- name: key_before
-- locks: ACCESS SHARE on {table}; a read of one index entry.
SELECT {key_texts} FROM {table} AS t WHERE {key} < {bound} ORDER BY {key_descending} LIMIT 1;
