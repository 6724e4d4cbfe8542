-- What `verify` asks of a file, and what is kept beforehand to compare with. In WAL mode reads keep nobody waiting.

-- name: tenants
-- locks: none; a scan of {table}, or of an index that begins with the tenant.
SELECT {column} AS tenant, count(*) AS rows FROM {table} GROUP BY 1 ORDER BY 2 DESC, 1;

-- name: count
-- locks: none; a scan of the smallest index of {table}.
SELECT count(*) AS rows FROM {table};

-- name: filled
-- locks: none; a read of the ledger. Rows that batches filled, by table.
SELECT j.table_name AS "table", coalesce(sum(b.rows), 0) AS rows
FROM tenantry_jobs AS j LEFT JOIN tenantry_batches AS b ON b.job_id = j.id AND b.state = 'done'
WHERE j.migration_id = :migration AND j.kind = 'fill' GROUP BY 1;

-- name: ends
-- locks: none; two looks at either end of {table}.
SELECT min({rowid}) AS first, max({rowid}) AS last FROM {table};

-- name: sampled
-- locks: none; one row of {table}. The key as SQL writes it, then the values.
SELECT {key}, {values} FROM {table} WHERE {rowid} >= :at ORDER BY {rowid} LIMIT 1;

-- name: first_rows
-- locks: none; a few rows of {table}.
SELECT {key}, {values} FROM {table} LIMIT :most;

-- name: again
-- locks: none; the rows of {table} that have a key, one for each tenant.
SELECT {values} FROM {table} WHERE {same};

-- name: edges
-- locks: none; a scan of {child} with a look into {parent} for each row. Rows that name one which other tenants have, and theirs hasn't.
SELECT count(*) AS rows, min({example}) AS example FROM {child} AS c
WHERE EXISTS (SELECT 1 FROM {parent} AS p WHERE {pairs})
  AND NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {pairs} AND p.{column} IS c.{column});

-- name: broken_keys
-- locks: none; every row that has a foreign key, with a look for what it names.
SELECT "table" AS of_table, parent, count(*) AS rows FROM pragma_foreign_key_check() GROUP BY 1, 2 ORDER BY 1, 2;

-- name: explain
-- locks: none; nothing is run.
EXPLAIN QUERY PLAN SELECT count(*) FROM {table} WHERE {column} = :tenant;

-- name: me
-- locks: none; a table of this connection's own, in no file.
CREATE TEMP TABLE {me} AS SELECT '' AS tenant;

-- name: am
-- locks: none; the same.
UPDATE temp.{me} SET tenant = :tenant;

-- name: view
-- locks: none; a view of this connection's own, in no file.
CREATE TEMP VIEW {view} AS SELECT * FROM main.{table} WHERE {column} = (SELECT tenant FROM temp.{me});

-- name: seen
-- locks: none; a read.
SELECT count(*) AS rows, count(*) FILTER (WHERE {column} IS NOT :tenant) AS others FROM temp.{view};

-- name: drop_view
-- locks: none; it is this connection's own.
DROP VIEW temp.{view};

-- name: drop_me
-- locks: none; it is this connection's own.
DROP TABLE temp.{me};

-- name: explain_query
-- locks: none; nothing is run. A query of the plan's own.
EXPLAIN QUERY PLAN {query};

-- name: query
-- locks: none; a read, for `read_only` comes first. A query of the plan's own.
{query};

-- name: read_only
-- locks: none. This connection refuses to write from here on.
PRAGMA query_only = ON;

-- name: read_write
-- locks: none. It writes again.
PRAGMA query_only = OFF;
