-- Which rows go to another tenant, and their going. The tables `{moving}` are this connection's own, in no file: they hold
-- where the rows of a batch lie, one for each table of the plan.

-- name: make
-- locks: none; it is this connection's own.
CREATE TEMP TABLE {moving} ({columns}, PRIMARY KEY ({columns})) WITHOUT ROWID;

-- name: clear
-- locks: none; it is this connection's own.
DELETE FROM temp.{moving};

-- name: drop
-- locks: none; it is this connection's own.
DROP TABLE IF EXISTS temp.{moving};

-- name: explain
-- locks: none; nothing is run. The operator's condition, as SQLite reads it.
EXPLAIN SELECT 1 FROM {table} AS t WHERE ({where});

-- name: changing
-- locks: none; a read of what this SQLite can do. Functions that may say something else each time.
SELECT DISTINCT name FROM pragma_function_list WHERE NOT flags & 0x800 AND type = 's';

-- name: noted
-- locks: none; a fragment: rows that an earlier assignment took.
SELECT 1 FROM tenantry_assigned AS a WHERE a.assignment = :undoes AND a.of_table = :named AND a.key = {key};

-- name: goes
-- locks: none; a fragment: whether a row is on a list.
SELECT 1 FROM temp.{moving} AS m WHERE {place};

-- name: choose
-- locks: none; the next rows at the top, in order of where they lie, of a tenant's by its index where that has this order.
SELECT {identity} FROM {table} AS t{walked} WHERE {plain}t.{column} = :from AND ({where}) AND {after} ORDER BY {identity} LIMIT :most;

-- name: choose_how
-- locks: none; nothing is run. How SQLite would go about a query.
EXPLAIN QUERY PLAN {query};

-- name: choose_all
-- locks: none; all rows at the top, beside every writer.
INSERT INTO temp.{moving} SELECT {identity} FROM {table} AS t WHERE t.{column} = :from AND ({where});

-- name: put
-- locks: none; it is this connection's own.
INSERT INTO temp.{moving} VALUES ({values});

-- name: settle
-- locks: none beside those of the batch's transaction. What somebody changed since it was chosen stays.
DELETE FROM temp.{moving} AS m
WHERE NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {place} AND +t.{column} = :from AND ({where}));

-- name: along
-- locks: none beside those of the batch's transaction. Rows that name one that goes: by the index of what names it, and not (+)
-- by that of the tenant, which would read all of its rows for each.
INSERT OR IGNORE INTO temp.{moving} SELECT {identity}
FROM temp.{above} AS m CROSS JOIN {parent} AS p ON {place} CROSS JOIN {table} AS t ON {pairs} WHERE +t.{column} = :from;

-- name: count
-- locks: none; it is this connection's own.
SELECT count(*) AS rows FROM temp.{moving};

-- name: note
-- locks: the file's write lock, which the batch's transaction has: its own notes.
INSERT OR IGNORE INTO tenantry_assigned (assignment, of_table, key)
SELECT :assignment, :named, {key} FROM temp.{moving} AS m CROSS JOIN {table} AS t ON {place};

-- name: move
-- locks: the file's write lock, which the batch's transaction has: rows of one tenant that lie where it says.
UPDATE {table} SET {column} = :to WHERE ({identity}) IN (SELECT {columns} FROM temp.{moving}) AND +{column} = :from;

-- name: torn
-- locks: none; a read. Rows of which one end would go and the other stay.
SELECT count(*) AS rows, min({example}) AS example FROM {table} AS t JOIN {parent} AS p ON {pairs}
WHERE t.{column} = :from AND p.{column} = :from AND ({goes}) <> ({parent_goes});

-- name: taken
-- locks: none; a read. Rows to go of which the other tenant has the like.
SELECT count(*) AS rows, min({example}) AS example FROM temp.{moving} AS m CROSS JOIN {table} AS t ON {place}
WHERE EXISTS (SELECT 1 FROM {table} AS there WHERE {same} AND there.{column} = :to);
