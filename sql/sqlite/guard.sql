-- The write guard gives rows their tenant that are written by code that does not know the column. Its triggers run in the
-- application's own connection and transaction: they lock nothing beside what its statement has locked already, the file.
-- Triggers of SQLite can't change a row before it is written, so these update it right after.

-- name: create_uses
-- locks: the file's write lock, for a new empty table.
CREATE TABLE tenantry_guard (name TEXT PRIMARY KEY, uses INTEGER NOT NULL DEFAULT 0, last_use INTEGER) WITHOUT ROWID;

-- name: let_follow
-- locks: the file's write lock, for one row. Set and taken back within a batch's transaction, so that nobody else sees it: rows
-- that a batch gives their first tenant have nobody yet who could follow, and looking would double its time.
UPDATE tenantry_guard SET uses = {quiet} WHERE name = '';

-- name: drop_uses
-- locks: the file's write lock, for a small table.
DROP TABLE tenantry_guard;

-- name: count_from_now
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_guard (name) VALUES ({name}) ON CONFLICT (name) DO NOTHING;

-- name: count_no_more
-- locks: the file's write lock, for one row.
DELETE FROM tenantry_guard WHERE name = {name};

-- name: uses
-- locks: none; a read.
SELECT name, uses, last_use FROM tenantry_guard;

-- name: create_trigger
-- locks: the file's write lock, for an entry in the schema. Writers are before it or after it: so every row is either there before
-- the backfill's bound is frozen, or is given its tenant.
CREATE TRIGGER {trigger} AFTER INSERT ON {table} WHEN NEW.{column} IS {sentinel}
BEGIN
  {count}
  UPDATE {table} SET {column} = (SELECT {told} FROM {table} AS t WHERE {t_is_new})
  WHERE {is_new} AND (SELECT {told} FROM {table} AS t WHERE {t_is_new}) IS NOT NULL;{followed}
END;

-- name: create_trigger_of_changes
-- locks: the file's write lock, for an entry in the schema.
-- A row that old code gives another parent, or another of what its tenant is told by, gets the tenant of that; one
-- whose tenant the same statement changes keeps what it was given, and one that nothing tells a tenant of any more what
-- it had. One whose parent has none yet waits with it. A batch's own update sets no such column, and so the trigger costs it
-- nothing.
CREATE TRIGGER {trigger} AFTER UPDATE OF {watched} ON {table} WHEN NEW.{column} IS OLD.{column} AND ({changed})
BEGIN
  UPDATE {table} SET {column} = (SELECT {given} FROM {table} AS t WHERE {t_is_new})
  WHERE {is_new} AND (SELECT {given} FROM {table} AS t WHERE {t_is_new}) IS NOT {column};
  {count_if}
END;

-- name: count
-- locks: none beside the statement's that fires the trigger.
UPDATE tenantry_guard SET uses = uses + 1, last_use = CAST(strftime('%s', 'now') AS INTEGER) WHERE name = {name};

-- name: count_if
-- locks: none beside the statement's that fires the trigger. changes() is of the statement before it in the same trigger.
UPDATE tenantry_guard SET uses = uses + 1, last_use = CAST(strftime('%s', 'now') AS INTEGER)
  WHERE name = {name} AND changes() > 0;

-- name: first_tenant_told
-- locks: none beside the statement's that fires the trigger. Whether a row's first tenant is told on: not by a planned batch.
(SELECT uses = 0 FROM tenantry_guard WHERE name = '')

-- name: create_follow_trigger
-- locks: the file's write lock, for an entry in the schema.
CREATE TRIGGER {trigger} AFTER UPDATE OF {watched} ON {leader} WHEN {changed}
BEGIN
  {followed}
END;

-- name: create_follow_trigger_of_new
-- locks: the file's write lock, for an entry in the schema.
-- A row may be written before the one that tells its tenant, whatever foreign keys say: SQLite holds them only where the
-- application asks for it. And INSERT OR REPLACE writes a new row in place of the old one.
CREATE TRIGGER {trigger} AFTER INSERT ON {leader} WHEN {has_tenant}
BEGIN
  {followed}
END;

-- name: given
-- locks: none beside the statement's that fires the trigger. What is told; else what the row has, or no tenant again.
coalesce({told}, CASE WHEN {waits} THEN {sentinel} ELSE t.{column} END)

-- name: follow
-- locks: none beside the statement's that fires the trigger.
UPDATE {table} SET {column} = (SELECT {given} FROM {table} AS t WHERE {t_is_it})
  WHERE {identity} IN (SELECT {t_identity} FROM {table} AS t WHERE {named} AND {given} IS NOT t.{column});

-- name: follow_down
-- locks: none beside the statement's that fires the trigger. A tree's rows below follow at once: a trigger doesn't fire itself.
UPDATE {table} SET {column} = (SELECT d.given FROM {down} AS d WHERE {d_is_it} LIMIT 1)
  WHERE {identity} IN (SELECT {t_identity} FROM {down} AS d JOIN {table} AS t ON {t_is_d}
    WHERE d.given IS NOT t.{column});

-- name: down
-- locks: none beside the statement's that fires the trigger. The rows that name the one at hand and don't keep what they had, and all below them.
(WITH RECURSIVE down ({keys}, given) AS (
    SELECT {t_identity}, {given} FROM {table} AS t WHERE {named} AND ({told} IS NOT NULL OR {waits})
    UNION
    SELECT {c_identity}, down.given
    FROM down JOIN {table} AS b ON {b_is_down} JOIN {table} AS c ON {c_below_b})
  SELECT * FROM down)

-- name: refuse
-- locks: none beside the statement's that fires the trigger. A row without a tenant goes nowhere, it is given its first one.
SELECT RAISE(ABORT, {refused}) WHERE EXISTS (SELECT 1 FROM {table} AS t
    WHERE {named} AND t.{column} IS NOT {sentinel} AND coalesce({told}, t.{column}) IS NOT t.{column});

-- name: drop_trigger
-- locks: the file's write lock, for an entry in the schema.
DROP TRIGGER {trigger};

-- name: is_there
-- locks: none; a read of the schema.
SELECT 1 AS there FROM sqlite_schema WHERE type = 'table' AND name = 'tenantry_guard';
