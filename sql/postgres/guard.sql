-- The write guard gives rows their tenant that are written by code that does not know the column. It lives
-- in a schema of its own, so that dropping the ledger never takes it along.

-- name: create_schema
-- locks: none on tables; an entry in a catalog.
CREATE SCHEMA tenantry_guard

-- name: drop_schema
-- locks: none on tables. Without CASCADE: what another migration keeps there stays.
DROP SCHEMA tenantry_guard

-- name: create_sequence
-- locks: none on tables; a new sequence. It counts the guard's uses in rolled-back transactions too, and without
-- a row that writers would have to share.
CREATE SEQUENCE {sequence}

-- name: drop_sequence
-- locks: ACCESS EXCLUSIVE on the sequence, which only the guard uses, and its function is gone by then.
DROP SEQUENCE {sequence}

-- name: create_function
-- locks: none on tables; a new function. It runs as its owner, with a fixed search path, so that the application
-- needs no rights on other tables. A row whose tenant it can't work out keeps the sentinel and is left to the
-- backfill: an error here would be the application's. But for those that pass by themselves (a lock, a deadlock, a
-- snapshot too old, shutdown): after such a one its transaction is to be tried again, and the row with it.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path}
AS $tenantry_guard$
#variable_conflict use_column
DECLARE
  told text;
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM nextval({sequence}::regclass);
  END IF;
  told := coalesce(
    (SELECT ({value})::text FROM (SELECT (NEW).*) AS t {joined} WHERE {resolved} LIMIT 1),
    (SELECT {kept} FROM (SELECT (NEW).*) AS t)
  );
  IF NEW.{column} IS DISTINCT FROM told THEN
    IF TG_OP = 'UPDATE' THEN
      PERFORM nextval({sequence}::regclass);
    END IF;
    NEW.{column} := told;
  END IF;
  RETURN NEW;
EXCEPTION
  WHEN plpgsql_error OR OTHERS THEN
    IF left(SQLSTATE, 2) IN ('08', '25', '28', '40', '53', '55', '57', '58') THEN
      RAISE;
    END IF;
    RETURN NEW;
END
$tenantry_guard$

-- name: drop_function
-- locks: none on tables; its trigger is gone by then.
DROP FUNCTION {function}()

-- name: create_trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done. It waits for them:
-- so every row is either there before the backfill's bound is frozen, or is given its tenant.
-- Where {table} is partitioned, on its partitions too, and each gets the trigger, one attached later as well.
CREATE TRIGGER {trigger} BEFORE INSERT ON {table}
FOR EACH ROW WHEN ({unfilled})
EXECUTE FUNCTION {function}()

-- name: create_trigger_of_changes
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
-- A row that old code gives another parent, or another of what its tenant is told by, gets the tenant of that; one
-- whose tenant the same statement changes keeps what it was given, and one that nothing tells a tenant of any more what
-- it had: a row without a parent would be nobody's, and gone from sight. One whose parent has none yet waits with it.
-- A batch's own update sets no such column, and so the trigger costs it nothing.
CREATE TRIGGER {trigger} BEFORE UPDATE {of_columns} ON {table}
FOR EACH ROW WHEN (NEW.{column} IS NOT DISTINCT FROM OLD.{column} AND {changed})
EXECUTE FUNCTION {function}()

-- name: drop_trigger
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds, and on its partitions where it is partitioned.
DROP TRIGGER {trigger} ON {table}

-- name: create_moves
-- locks: none on tables of anybody else; a new one, that nobody knows yet. Which rows changed their tenant, and so had others
-- follow: such another that was written meanwhile, in a transaction that did not see the change, is looked after once
-- those transactions are over. A lock of each write on its parent's row would do without it, and make every
-- application wait that counts something in the parent: comment and post, order and customer.
CREATE TABLE tenantry_guard.moves (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  follower text NOT NULL,
  key text[] NOT NULL,
  by_transaction xid8 NOT NULL DEFAULT pg_current_xact_id()
)

-- name: drop_moves
-- locks: ACCESS EXCLUSIVE on a table of ours, which only guards write to, and they are gone by then.
DROP TABLE IF EXISTS tenantry_guard.moves

-- name: create_follow_function
-- locks: none on tables; a new function. Run by a trigger it locks the rows of {table} that it changes, until the
-- transaction ends that made it necessary. Where it can't (the table was dropped, the source fails) the application's
-- statement goes through all the same, and the next stage tries again and says why. Rows that `tenants assign` moves
-- have theirs brought along by batches of their own. Keys are noted as our own sessions read them (DateStyle).
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path} SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres'
AS $tenantry_guard$
#variable_conflict use_column
BEGIN
  INSERT INTO tenantry_guard.moves (follower, key)
  SELECT {follower}, {new} WHERE TG_OP = ANY ({new_is_noted})
  UNION
  SELECT {follower}, {old} WHERE TG_OP IN ('UPDATE', 'DELETE');
  IF current_setting('tenantry.assigning', true) = 'on' THEN
    RETURN NULL;
  END IF;
  {refused}
  BEGIN
    UPDATE {table} AS t SET {column} = {value} WHERE {named} AND t.{column} IS DISTINCT FROM {value};
    IF FOUND THEN
      PERFORM nextval({sequence}::regclass);
    END IF;
  EXCEPTION
    WHEN plpgsql_error OR OTHERS THEN
      IF left(SQLSTATE, 2) IN ('08', '25', '28', '40', '53', '55', '57', '58') THEN
        RAISE;
      END IF;
  END;
  RETURN NULL;
END
$tenantry_guard$

-- name: refuse
-- locks: none of its own: inside another function it reads {table}. A row without a tenant yet goes nowhere, it is given its
-- first one.
IF EXISTS (
    SELECT FROM {table} AS t
    WHERE {named} AND t.{column} <> {told} AND NOT {unfilled}
  ) THEN
    RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
      MESSAGE = {refused}, HINT = 'the plan of the migration says moves = "refuse"';
  END IF;

-- name: create_follow_trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
-- Its name comes before those of foreign keys' own triggers (RI_…), for after those a composite key that takes no
-- action would have failed already. Not UPDATE OF: the guard of changes sets a column that no statement names.
CREATE TRIGGER {trigger} AFTER UPDATE ON {table}
FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {function}()

-- name: create_follow_trigger_of_new
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
-- Where a row may be written before the one that tells its tenant: it has what `otherwise` says until then.
CREATE TRIGGER {trigger} AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()

-- name: create_follow_trigger_of_ends
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
-- Where a row may outlive the one that told its tenant, and something else is asked then.
CREATE TRIGGER {trigger} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()

-- name: has_moves
-- locks: none.
SELECT to_regclass('tenantry_guard.moves') IS NOT NULL

-- name: settle
-- locks: ROW EXCLUSIVE on {table} and the moves; row locks on the few rows that were written while others moved.
-- Moves before the oldest transaction that still runs: nobody can have missed them and write now. An autovacuum, which may run
-- for hours, writes nobody's rows.
WITH settled AS (
    DELETE FROM tenantry_guard.moves AS m
    WHERE m.follower = %(follower)s AND m.by_transaction < pg_snapshot_xmin(pg_current_snapshot())
      AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = current_database()
          AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'
          AND age(a.backend_xmin) >= age(m.by_transaction::xid))
    RETURNING m.key
)
UPDATE {table} AS t SET {column} = {value}
FROM (SELECT DISTINCT key FROM settled) AS settled
WHERE {named} AND t.{column} IS DISTINCT FROM {value}

-- name: unsettled
-- locks: ACCESS SHARE on the moves.
SELECT count(*) FROM tenantry_guard.moves WHERE follower = ANY (%(followers)s)

-- name: uses
-- locks: ACCESS SHARE on the guards' sequences; nobody waits for it. NULL: never used. Of a sequence that this role may not
-- read nothing is said: PostgreSQL 18 has NULL there, as if it were never used, and those before end the statement.
SELECT c.relname, pg_sequence_last_value(c.oid)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'tenantry_guard' AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') END
