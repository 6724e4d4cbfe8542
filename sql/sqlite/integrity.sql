-- SQLite's own check of a file. It ends at so many faults, of which `sql.sqlite.integrity` leaves some out: so there is
-- no end to them here.

-- name: whole
-- locks: none in WAL mode, however long it reads: every page, every index against its table, every constraint.
PRAGMA integrity_check(2147483647);

-- name: quick
-- locks: none in WAL mode; a read of every table, without its indexes.
PRAGMA quick_check(2147483647);

-- name: of_table
-- locks: none; a read of a table and its indexes.
PRAGMA integrity_check({table});

-- name: refusing
-- locks: none; a read of the schema.
SELECT t.name AS "table", c.name AS "column"
FROM pragma_table_list AS t, pragma_table_info(t.name) AS c
WHERE t.schema = 'main' AND t.type = 'table' AND t.wr AND c."notnull";

-- name: any_null
-- locks: nothing by itself: a part of nulls. By its type: that it IS NULL is false beforehand where NULL is refused.
max(typeof({column}) = 'null')

-- name: nulls
-- locks: none; a read of a table.
SELECT {columns} FROM {table};
