-- What preflight asks of a file. Everything is read, and nothing is written; in WAL mode a read keeps nobody waiting, in the
-- other modes it keeps a writer waiting at his COMMIT, which is why each question has a time limit.

-- name: settings
-- locks: none; a read of the file's header.
SELECT journal_mode, page_size, page_count, freelist_count, auto_vacuum, secure_delete
FROM pragma_journal_mode, pragma_page_size, pragma_page_count, pragma_freelist_count, pragma_auto_vacuum, pragma_secure_delete;

-- name: options
-- locks: none; how SQLite was built.
SELECT compile_options AS option FROM pragma_compile_options;

-- name: collated
-- locks: none; compiled alone.
SELECT 'a' < 'b' COLLATE {collation};

-- name: sizes
-- locks: none; a read of every page under a size limit. Bytes of each table and of all its indexes.
SELECT s.tbl_name AS "table", sum(d.pgsize) FILTER (WHERE s.type = 'table') AS bytes,
       sum(d.pgsize) FILTER (WHERE s.type = 'index') AS index_bytes
FROM dbstat AS d JOIN sqlite_schema AS s ON s.name = d.name WHERE d.aggregate = TRUE GROUP BY s.tbl_name;

-- name: rows
-- locks: none; a read of the table's smallest index under a time limit.
SELECT count(*) FROM {table};

-- name: has_null
-- locks: none; a scan under a time limit, until the first is found.
SELECT EXISTS (SELECT 1 FROM {table} WHERE {null});

-- name: allow_schema
-- locks: none. A connection of its own is asked, and closed.
PRAGMA writable_schema = ON;

-- name: schema_allowed
-- locks: none.
PRAGMA writable_schema;

-- name: largest_rowid
-- locks: none; a look at the end of the table.
SELECT max({rowid}) FROM {table};

-- name: begin_writing
-- locks: the file's write lock, for as long as it takes to give it back.
BEGIN IMMEDIATE;

-- name: stop_writing
-- locks: none; gives back the write lock. Nothing was written.
ROLLBACK;

-- name: checkpoint
-- locks: none that anybody waits for: PASSIVE moves what can be moved without waiting, as any COMMIT does from time to time.
PRAGMA wal_checkpoint(PASSIVE);

-- name: foreign_key_check
-- locks: none; a read of the table and of what its foreign keys name, under a time limit.
PRAGMA foreign_key_check({table});

-- name: explain
-- locks: none; compiled, and not run.
EXPLAIN {statement};

-- name: read_all
-- locks: none; compiled alone.
SELECT * FROM {table};

-- name: insert_nothing
-- locks: none; compiled alone, so that every check, index and trigger that an INSERT needs is.
INSERT INTO {table} DEFAULT VALUES;

-- name: insert_nulls
-- locks: none; compiled alone: a view has no default values.
INSERT INTO {table} ({columns}) VALUES ({nulls});

-- name: update_nothing
-- locks: none; compiled alone, so that every check, index and trigger that an UPDATE needs is.
UPDATE {table} SET {assigned};

-- name: delete_all
-- locks: none; compiled alone, so that every trigger that a DELETE needs is.
DELETE FROM {table};

-- name: columns
-- locks: none; a read of the schema.
SELECT name FROM pragma_table_info(:name);

-- name: virtual
-- locks: none; a read of the schema.
SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND rootpage = 0;

-- name: names
-- locks: none; a read of the schema.
SELECT name, type, tbl_name FROM sqlite_schema;

-- name: worked_out
-- locks: none; compiled alone: whether SQLite can work the tenants out.
WITH {planned} SELECT {tenant} FROM {rows};

-- name: tenants
-- locks: none; a scan under a time limit. Rows by the tenant that they will have.
WITH {planned} SELECT nullif({tenant}, '') AS tenant, count(*) AS rows FROM {rows} GROUP BY 1;

-- name: unresolved
-- locks: none; a scan under a time limit, until the first few are found.
WITH {planned} SELECT {key} AS key FROM {rows} AS t WHERE nullif({tenant}, '') IS NULL LIMIT 3;

-- name: crossing
-- locks: none; a join under a time limit. Rows whose parent will be another tenant's, by the two tenants.
WITH {planned}
SELECT child.{tenant} AS tenant, parent.{tenant} AS other, count(*) AS rows, min({example}) AS example
FROM {child} AS child JOIN {parent} AS parent ON {pairs}
WHERE child.{tenant} <> parent.{tenant} AND child.{tenant} <> '' AND parent.{tenant} <> ''
GROUP BY 1, 2;

-- name: looked_up
-- locks: none of its own: a part of a read. A table that tenants are looked up in, like one of the plan.
{called} AS (SELECT *, CAST({column} AS TEXT) AS {tenant} FROM main.{table})

-- name: ambiguous
-- locks: none; a scan under a time limit. Values that several rows have, each of which tells a tenant.
WITH {planned}
SELECT count(*) AS keys, count(*) FILTER (WHERE tenants > 1) AS torn, group_concat(key || ' of ' || named, '; ') FILTER (WHERE place <= 3)
       AS examples
FROM (
    SELECT key, tenants, named, row_number() OVER (ORDER BY tenants DESC, key) AS place
    FROM (
        SELECT {key} AS key, count(DISTINCT {tenant}) AS tenants, group_concat(DISTINCT {tenant}) AS named
        FROM {rows} AS r WHERE {tenant} <> '' AND {key} IS NOT NULL GROUP BY {grouped} HAVING count(*) > 1
    )
);
