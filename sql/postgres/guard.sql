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
-- backfill: an error here would be the application's.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path}
AS $tenantry_guard$
#variable_conflict use_column
BEGIN
  PERFORM nextval({sequence}::regclass);
  NEW.{column} := coalesce(
    (SELECT ({value})::text FROM (SELECT (NEW).*) AS t {joined} WHERE {resolved} LIMIT 1),
    NEW.{column}
  );
  RETURN NEW;
EXCEPTION
  WHEN cardinality_violation OR data_exception OR integrity_constraint_violation
    OR syntax_error_or_access_rule_violation OR plpgsql_error THEN
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
FOR EACH ROW WHEN (NEW.{column} IS NOT DISTINCT FROM {sentinel})
EXECUTE FUNCTION {function}()

-- name: drop_trigger
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds, and on its partitions where it is partitioned.
DROP TRIGGER {trigger} ON {table}

-- name: uses
-- locks: ACCESS SHARE on the guards' sequences; nobody waits for it. NULL: never used.
SELECT c.relname, pg_sequence_last_value(c.oid)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'tenantry_guard' AND c.relkind = 'S'
