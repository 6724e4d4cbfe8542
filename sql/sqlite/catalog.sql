-- Reads of the schema. None of them locks anything: in WAL mode a reader sees the file as it was when it began.

-- name: objects
-- locks: none; a read of the schema.
SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY rowid;

-- name: tables
-- locks: none; a read of the schema. What is a table of the operator's own: neither virtual, nor a shadow of one that is.
SELECT name, wr AS without_rowid, strict, type FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\_%' ESCAPE '\';

-- name: columns
-- locks: none; a read of the schema.
SELECT name, type, "notnull" AS not_null, dflt_value AS "default", pk, hidden FROM pragma_table_xinfo(:table) ORDER BY cid;

-- name: indexes
-- locks: none; a read of the schema.
SELECT l.name, l."unique", l.origin, l.partial, s.sql
FROM pragma_index_list(:table) AS l LEFT JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY l.seq DESC;

-- name: index_columns
-- locks: none; a read of the schema. A NULL name is an expression, or the rowid.
SELECT name, "desc", coll AS collation FROM pragma_index_xinfo(:index) WHERE key ORDER BY seqno;

-- name: foreign_keys
-- locks: none; a read of the schema.
SELECT id, seq, "table" AS target, "from" AS "column", "to" AS target_column, on_update, on_delete
FROM pragma_foreign_key_list(:table) ORDER BY id DESC, seq;
