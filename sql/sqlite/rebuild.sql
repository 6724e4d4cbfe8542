-- A table made anew with other keys, beside the one that everybody works with, and put in its place. What the
-- application writes meanwhile is noted by its key in a small table, and the noted rows are read again: so none of
-- our constraints can fail in the application's own statements, and what its REPLACE deletes without firing
-- a trigger is noted before.

-- name: make_notes
-- locks: the file's write lock, for an empty table: milliseconds.
CREATE TABLE {notes} ({columns}, PRIMARY KEY ({key})){tail};

-- name: keep_rowids
-- locks: the file's write lock for a moment. VACUUM numbers the rows of a table anew that has no index, so it has one of no row.
CREATE INDEX {index} ON {table} (0) WHERE 0;

-- name: note_after
-- locks: the file's write lock for a moment. From then on each row that is written costs one row of a number more.
CREATE TRIGGER {trigger} AFTER {event} ON {table} BEGIN {body} END;

-- name: note_before
-- locks: the file's write lock for a moment. REPLACE deletes the rows that are in its way and fires nothing for them.
CREATE TRIGGER {trigger} BEFORE {event} ON {table} BEGIN {body} END;

-- name: note
-- locks: none beside those of the statement that fires it. The clause wins over the OR REPLACE of that statement.
INSERT INTO {notes} ({key}) VALUES ({values}) ON CONFLICT DO NOTHING;

-- name: note_in_the_way
-- locks: none beside those of the statement that fires it.
INSERT INTO {notes} ({key}) SELECT {theirs} FROM {table} AS o WHERE {alike} ON CONFLICT DO NOTHING;

-- name: drop_trigger
-- locks: the file's write lock for a moment.
DROP TRIGGER IF EXISTS {trigger};

-- name: drop_table
-- locks: the file's write lock while its pages are put on the list of free ones: 80 ms for 300 MB that were in memory.
DROP TABLE IF EXISTS {table};

-- name: forget_statistics
-- locks: the file's write lock for a moment. What somebody's ANALYZE has written down of a table that gets another name.
DELETE FROM {statistics} WHERE tbl = :table OR tbl GLOB :trees;

-- name: drop_index
-- locks: the file's write lock while its pages are put on the list of free ones: 15 ms for 50 MB.
DROP INDEX IF EXISTS {index};

-- name: rows
-- locks: none; a read.
SELECT count(*) FROM {table};

-- name: page
-- locks: none; a read of a batch's keys. The last of the next rows after a key: OFFSET steps over those before it.
SELECT {quoted} FROM {table} {range} ORDER BY {key} LIMIT 1 OFFSET :before;

-- name: copy
-- locks: the file's write lock, for a batch of rows.
INSERT INTO {into} ({columns}) SELECT {columns} FROM {table} {range} ORDER BY {key};

-- name: forget_changed
-- locks: the file's write lock, for a batch of rows.
DELETE FROM {into} WHERE ({key}) IN (SELECT {noted} FROM {notes} ORDER BY {noted} LIMIT :rows);

-- name: copy_changed
-- locks: the file's write lock, for a batch of rows. Whatever is in the way is out of date, and noted too.
INSERT OR {conflict} INTO {into} ({columns}) SELECT {columns} FROM {table}
WHERE ({key}) IN (SELECT {noted} FROM {notes} ORDER BY {noted} LIMIT :rows);

-- name: forget_notes
-- locks: the file's write lock, for a batch of small rows.
DELETE FROM {notes} WHERE ({noted}) IN (SELECT {noted} FROM {notes} ORDER BY {noted} LIMIT :rows);

-- name: differing
-- locks: none; a read. Rows that are not the same in both, byte for byte, and not noted as to be read again.
SELECT count(*) FROM {table} AS o LEFT JOIN {into} AS n ON {same_key}
WHERE (n.{first} IS NULL OR NOT {same}){unless_noted};

-- name: surplus
-- locks: none; a read. Rows that only the new table has.
SELECT count(*) FROM {into} AS o WHERE NOT EXISTS (SELECT 1 FROM {table} AS n WHERE {same_key}){unless_noted};

-- name: crossing
-- locks: none; a read. Rows whose foreign key would lead nowhere with the tenant in it, and leads somewhere without it.
SELECT count(*) FROM {child} AS c WHERE {filled}
AND EXISTS (SELECT 1 FROM {parent} AS p WHERE {matches} AND p.{tenant} IS NOT c.{tenant})
AND NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {matches} AND p.{tenant} = c.{tenant});

-- name: without_tenant
-- locks: none; a read.
SELECT count(*) FROM {table} WHERE {tenant} IS {sentinel};

-- name: in_two_tenants
-- locks: none; a read. The first of an old key that is there more than once.
SELECT {key}, count(*) FROM {table} WHERE {filled} GROUP BY {key} HAVING count(*) > 1 LIMIT 1;

-- name: duplicate
-- locks: none; a read of the sorted entries.
SELECT 1 FROM {sorted} GROUP BY {key} HAVING count(*) > 1 LIMIT 1;

-- name: with_null
-- locks: none; a read.
SELECT EXISTS (SELECT 1 FROM {table} WHERE {null});

-- name: make_sorting
-- locks: none; in a temporary file of this connection.
CREATE TEMP TABLE {sorting} (at INTEGER PRIMARY KEY, {columns});

-- name: sort
-- locks: none; a read, and a temporary file of this connection.
INSERT INTO temp.{sorting} ({names}) SELECT {columns} FROM {table} {where} ORDER BY {order};

-- name: make_sorted
-- locks: the file's write lock, for an empty table. Its tree is that of an index with these columns and the rowid.
CREATE TABLE {sorted} ({columns}, PRIMARY KEY ({order})) WITHOUT ROWID;

-- name: copy_sorted
-- locks: the file's write lock, for a batch of entries, each put behind the last.
INSERT INTO {sorted} SELECT {names} FROM temp.{sorting} WHERE at > :done AND at <= :upto;

-- name: make_trial
-- locks: none; in a temporary file of this connection. Some rows of a table, to see how long a copy takes.
INSERT INTO temp.{trial} ({columns}) SELECT {columns} FROM {table} LIMIT :rows;

-- name: empty
-- locks: the file's write lock, for a batch of rows.
DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} ORDER BY {order} LIMIT :rows);

-- name: identity
-- locks: none; a read of the schema. The primary key's columns.
SELECT name FROM pragma_table_info(:table) WHERE pk ORDER BY pk;

-- name: entries
-- locks: none; a read of the schema. A table with its indexes.
SELECT rowid, type, name, tbl_name, rootpage, sql FROM sqlite_schema
WHERE tbl_name = :table COLLATE NOCASE AND type IN ('table', 'index') ORDER BY rowid;

-- name: entry
-- locks: none; a read of the schema.
SELECT type FROM sqlite_schema WHERE name = :name COLLATE NOCASE;

-- name: next_place
-- locks: none; a read of the schema.
SELECT max(rowid) + 1 FROM sqlite_schema;

-- name: allow_schema
-- locks: none. The schema's own rows may be written by this connection, as SQLite's documents on ALTER TABLE have it.
PRAGMA writable_schema = ON;

-- name: schema_allowed
-- locks: none. Whether SQLite lets this connection do so: built to be defensive, it doesn't.
PRAGMA writable_schema;

-- name: forbid_schema
-- locks: none. The schema is read anew with it.
PRAGMA writable_schema = RESET;

-- name: schema_version
-- locks: none; a read of the file's first page.
PRAGMA schema_version;

-- name: set_schema_version
-- locks: none beside those of the transaction, which has the file's write lock. Every connection reads the schema anew.
PRAGMA schema_version = {version};

-- name: write_entry
-- locks: none beside those of the transaction, which has the file's write lock.
UPDATE sqlite_schema SET rowid = :place, type = :type, name = :name, tbl_name = :table, rootpage = :root, sql = :sql
WHERE rowid = :rowid;

-- name: free_quickly
-- locks: none. Pages that are let go need not be written over with zeros: their rows live on in the new table.
PRAGMA secure_delete = FAST;

-- name: more_memory
-- locks: none. 64 MB of pages for this connection.
PRAGMA cache_size = -65536;

-- name: sort_beside
-- locks: none. Sorting takes a second thread: a table's indexes were sorted in half of the time.
PRAGMA threads = 2;

-- name: sync_less
-- locks: none. A copy that is lost with the power is made again: in WAL mode its transactions need not wait for the disk. An
-- application's own commits, which do, take along what came before them.
PRAGMA synchronous = NORMAL;

-- name: sync_fully
-- locks: none. What is in the place of the application's table from now on is on the disk before anybody is told.
PRAGMA synchronous = FULL;

-- name: checkpoint_by_hand
-- locks: none.
PRAGMA wal_autocheckpoint = 0;

-- name: checkpoint_by_itself
-- locks: none.
PRAGMA wal_autocheckpoint = 1000;

-- name: edge
-- locks: none; a read of the table's end.
SELECT {quoted} FROM {table} ORDER BY {order} LIMIT 1;

-- name: unique_index
-- locks: the file's write lock while it is built.
CREATE UNIQUE INDEX {index} ON {table} ({columns});

-- name: pieces
-- locks: none; a read of a schema in memory.
SELECT l.name, s.sql, l."unique" FROM pragma_index_list(?) AS l
JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name ORDER BY s.rowid;

-- name: parts
-- locks: none; a read of a schema in memory.
SELECT name, coll, "desc" FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno;

-- name: forget_batches
-- locks: the file's write lock, for the ledger's own rows.
DELETE FROM tenantry_batches WHERE job_id IN (
    SELECT id FROM tenantry_jobs WHERE migration_id = :migration AND kind = 'copy' AND part = :part);

-- name: forget_job
-- locks: the file's write lock, for one row of the ledger.
DELETE FROM tenantry_jobs WHERE migration_id = :migration AND kind = 'copy' AND part = :part;
