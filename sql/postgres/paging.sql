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

-- name: heap
-- locks: ACCESS SHARE on {table} for an instant (its size), and on the catalog; a read.
-- `known` is the rows by the last ANALYZE or VACUUM and by how the heap has grown since, NULL where there was none.
SELECT s.pages, pg_size_bytes(current_setting('shared_buffers')) / s.block AS cache,
       CASE WHEN c.reltuples >= 0 AND c.relpages > 0 THEN (c.reltuples::float8 / c.relpages * s.pages)::bigint END AS known,
       (SELECT p.correlation::float8 FROM pg_stats AS p
        WHERE p.schemaname = n.nspname AND p.tablename = c.relname AND p.attname = %(column)s) AS correlation
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,
     LATERAL (SELECT current_setting('block_size')::bigint AS block,
                     pg_relation_size(c.oid) / current_setting('block_size')::bigint AS pages) AS s
WHERE c.oid = {name}::regclass;

-- name: sampled
-- locks: ACCESS SHARE on {table}; a read of about a hundred pages, so that it takes as long on a table of any size.
SELECT count(*) FROM {table} TABLESAMPLE SYSTEM (%(share)s);

-- name: unfilled
-- locks: ACCESS SHARE on {table}; the scan that proves completion, by parallel workers where there are some.
SELECT count(*) FROM {table} AS t WHERE {unfilled};

-- name: set_aside
-- locks: ACCESS SHARE on {table} and on what the tenant is read from, ROW EXCLUSIVE on tenantry.quarantine; part of the
-- scan that proves completion. In one statement: row by row, 100,000 of them took 100 scans of the table.
-- CASE, for a row that is in quarantine already may be there because its source fails, and must not be asked again.
INSERT INTO tenantry.quarantine (job_id, key, sqlstate, message)
SELECT %(job)s, {key_texts}, '', 'its source gives it no tenant'
FROM {table} AS t
WHERE {unfilled} AND CASE
    WHEN EXISTS (SELECT FROM tenantry.quarantine AS q WHERE q.job_id = %(job)s AND q.key = {key_texts}) THEN false
    ELSE NOT {known} END
ON CONFLICT (job_id, key) DO NOTHING;

-- name: sweep
-- locks: ACCESS SHARE on {table} and on what the tenant is read from; a scan of the table.
-- Rows that could have their tenant and don't, in the order of the key, so many to a range. A range begins right
-- below its first row: from the last row of the range before, the batch would read all that lies between.
WITH unfilled AS MATERIALIZED (
    SELECT {key_texts} AS key, row_number() OVER (ORDER BY {key}) - 1 AS n
    FROM {table} AS t
    WHERE {unfilled} AND CASE
        WHEN EXISTS (SELECT FROM tenantry.quarantine AS q WHERE q.job_id = %(job)s AND q.key = {key_texts}) THEN false
        ELSE {known} END
), ends AS (
    SELECT f.key AS first, l.key AS last, f.n
    FROM unfilled AS f
    JOIN unfilled AS l ON l.n = least(f.n + %(each)s, (SELECT count(*) FROM unfilled)) - 1
    WHERE f.n %% %(each)s = 0
    ORDER BY f.n LIMIT %(most)s
)
SELECT ({below}) AS lower, ends.last AS upper FROM ends ORDER BY ends.n;
