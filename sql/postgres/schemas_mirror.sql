-- What keeps the shared tables and the tenants' tables the same, whoever writes to which. It lives in a schema of its
-- own. `tenantry.mirrored` is on while a trigger of ours writes: what it writes comes from the other side.

-- name: create_schema
-- locks: none on tables; an entry in a catalog.
CREATE SCHEMA tenantry_mirror

-- name: create_schemas
-- locks: none; a new table. Whose schema is which, and how far it is.
CREATE TABLE tenantry_mirror.schemas (
  tenant text PRIMARY KEY, schema text NOT NULL UNIQUE, state text NOT NULL DEFAULT 'made'
)

-- name: create_tables
-- locks: none; a new table. The shared tables by oid, so that they are known when they are renamed.
CREATE TABLE tenantry_mirror.tables (
  named text PRIMARY KEY, shared regclass NOT NULL, switched boolean NOT NULL DEFAULT false
)

-- name: create_filled
-- locks: none; a new table. Which tenants' rows of which tables are copied, and compared.
CREATE TABLE tenantry_mirror.filled (
  tenant text, named text, PRIMARY KEY (tenant, named)
)

-- name: create_strays
-- locks: none; a new table. Rows that were written for a tenant that has no schema yet; no key, so that nobody waits.
CREATE TABLE tenantry_mirror.strays (tenant text)

-- name: create_apart
-- locks: none; a new table. Rows of tenants' tables whose ids another tenant has: the shared tables can't hold both.
CREATE TABLE tenantry_mirror.apart (named text NOT NULL, tenant text NOT NULL, key text NOT NULL)

-- name: note_table
-- locks: ROW EXCLUSIVE on a table of ours.
INSERT INTO tenantry_mirror.tables (named, shared) VALUES ({named}, {shared}::regclass) ON CONFLICT DO NOTHING

-- name: note_schema
-- locks: ROW EXCLUSIVE on a table of ours.
INSERT INTO tenantry_mirror.schemas (tenant, schema) VALUES ({tenant}, {schema})

-- name: forget_schema
-- locks: ROW EXCLUSIVE on tables of ours.
WITH gone AS (DELETE FROM tenantry_mirror.filled WHERE tenant = {tenant})
DELETE FROM tenantry_mirror.schemas WHERE tenant = {tenant}

-- name: set_state
-- locks: ROW EXCLUSIVE on a table of ours.
UPDATE tenantry_mirror.schemas SET state = {state} WHERE tenant = {tenant}

-- name: set_switched
-- locks: ROW EXCLUSIVE on a table of ours; the tables' triggers read the row as it was until this commits.
UPDATE tenantry_mirror.tables SET switched = {switched}

-- name: is_there
-- locks: none; to_regclass looks the names up without touching the tables.
SELECT to_regclass('tenantry_mirror.schemas') IS NOT NULL

-- name: schemas
-- locks: ACCESS SHARE on a table of ours.
SELECT tenant, schema, state FROM tenantry_mirror.schemas ORDER BY tenant

-- name: unfilled
-- locks: ACCESS SHARE on tables of ours. The tenants whose rows of a table are still to be copied.
SELECT s.tenant FROM tenantry_mirror.schemas AS s WHERE NOT EXISTS (
  SELECT FROM tenantry_mirror.filled AS f WHERE f.tenant = s.tenant AND f.named = %(named)s) ORDER BY s.tenant

-- name: note_filled
-- locks: ROW EXCLUSIVE on a table of ours.
INSERT INTO tenantry_mirror.filled (tenant, named) SELECT tenant, %(named)s FROM unnest(%(tenants)s::text[]) AS t (tenant)
ON CONFLICT DO NOTHING

-- name: take_strays
-- locks: ROW EXCLUSIVE on tables of ours. What is noted is seen: its rows are copied after this.
WITH seen AS (DELETE FROM tenantry_mirror.strays RETURNING tenant)
DELETE FROM tenantry_mirror.filled AS f USING (SELECT DISTINCT tenant FROM seen) AS s WHERE f.tenant = s.tenant

-- name: strays
-- locks: ACCESS SHARE on a table of ours.
SELECT coalesce(tenant, 'NULL'), count(*) FROM tenantry_mirror.strays GROUP BY tenant ORDER BY count(*) DESC LIMIT 5

-- name: apart
-- locks: ACCESS SHARE on a table of ours.
SELECT count(*) OVER (), named, tenant, key FROM tenantry_mirror.apart LIMIT 1

-- name: refuse_apart
-- locks: ACCESS SHARE on a table of ours. In the transaction that takes the names back, with what every write to a tenant's
-- table reads locked: a row that was noted since the way back was asked for is seen here, or there is none.
DO $tenantry_mirror$
BEGIN
  IF EXISTS (SELECT FROM tenantry_mirror.apart) THEN
    RAISE EXCEPTION USING ERRCODE = 'unique_violation',
      MESSAGE = 'meanwhile a row was written with an id that another tenant has too: there is no way back, `tenantry run` goes on';
  END IF;
END
$tenantry_mirror$

-- name: create_switched_function
-- locks: none on tables; a new function. Whether the application's triggers are to fire in the tenants' tables: from the
-- moment on in which those of the shared tables don't. VOLATILE, so that a statement which waits here for the renaming sees
-- that it is done: by the statement's own snapshot its triggers fired on neither side.
CREATE OR REPLACE FUNCTION tenantry_mirror.switched() RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $tenantry_mirror$
BEGIN
  RETURN EXISTS (SELECT FROM tenantry_mirror.tables WHERE switched);
END
$tenantry_mirror$

-- name: create_next_function
-- locks: none on tables; a new function. The next of an identity's sequence, on which a default of a copy draws: whoever
-- may insert there needs no right on the sequence, as with the identity itself.
CREATE OR REPLACE FUNCTION {function}() RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $tenantry_mirror$ SELECT pg_catalog.nextval({sequence}::pg_catalog.regclass) $tenantry_mirror$

-- name: grant_function
-- locks: none on tables. Whoever writes to a tenant's table calls it, and default privileges may have taken that from all.
GRANT EXECUTE ON FUNCTION {function}() TO PUBLIC

-- name: create_down_function
-- locks: none on tables; a new function. Run by a trigger of {shared} it writes the row to its tenant's table, and locks
-- it there until the transaction ends. It inserts what isn't there yet, for a batch may be about to copy the row. A row of
-- a tenant that has no schema is noted: the statement must not fail.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path}
AS $tenantry_mirror$
DECLARE
  was_in text;
  is_in text;
BEGIN
  IF current_setting('tenantry.mirrored', true) = 'on' THEN
    RETURN NULL;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    SELECT s.schema INTO was_in FROM tenantry_mirror.schemas AS s WHERE s.tenant = OLD.{tenant};
  END IF;
  IF TG_OP <> 'DELETE' THEN
    SELECT s.schema INTO is_in FROM tenantry_mirror.schemas AS s WHERE s.tenant = NEW.{tenant};
    IF NOT FOUND THEN
      INSERT INTO tenantry_mirror.strays (tenant) VALUES (NEW.{tenant});
    END IF;
  END IF;
  PERFORM set_config('tenantry.mirrored', 'on', true);
  IF was_in IS NOT NULL AND was_in IS DISTINCT FROM is_in THEN
    EXECUTE 'DELETE FROM ' || quote_ident(was_in) || {removal} USING OLD;
  END IF;
  IF was_in = is_in THEN
    IF {key_changes} THEN
      EXECUTE 'UPDATE ' || quote_ident(is_in) || {change} USING NEW, OLD;
    END IF;
  END IF;
  IF is_in IS NOT NULL THEN
    EXECUTE 'INSERT INTO ' || quote_ident(is_in) || {upsert} USING NEW;
  END IF;
  PERFORM set_config('tenantry.mirrored', '', true);
  RETURN NULL;
END
$tenantry_mirror$

-- name: create_up_function
-- locks: none on tables; a new function. Run by a trigger of a tenant's table it writes the row to {shared}, and locks it
-- there until the transaction ends. Until the switch {shared} has the last word: its triggers fire, and what they make of the
-- row comes back; one that they hold back is held back here too. Afterwards it is kept only as the way back: an id that
-- another tenant has there is noted, and the statement goes through. From then on there is none, and nothing is kept: what
-- points to a row that is not there would fail.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path}
AS $tenantry_mirror$
DECLARE
  into_ text;
  own text := format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME);
  after boolean;
  same boolean;
  held boolean := false;
BEGIN
  IF current_setting('tenantry.mirrored', true) = 'on' THEN
    RETURN NULL;
  END IF;
  {other_tenant}
  SELECT t.shared::text, t.switched INTO STRICT into_, after FROM tenantry_mirror.tables AS t WHERE t.named = {named};
  IF after THEN
    IF EXISTS (SELECT FROM tenantry_mirror.apart) THEN
      RETURN NULL;
    END IF;
    PERFORM set_config('tenantry.mirrored', 'on', true);
  END IF;
  IF TG_OP = 'DELETE' THEN
    EXECUTE 'DELETE FROM ' || into_ || {removal} || ' RETURNING true' INTO same USING OLD, TG_ARGV[0];
  ELSIF TG_OP = 'UPDATE' THEN
    {refusal}
    IF after AND {unique_changes} THEN
      BEGIN
        EXECUTE 'UPDATE ' || into_ || {change} USING NEW, OLD, TG_ARGV[0];
      EXCEPTION WHEN unique_violation OR exclusion_violation THEN
        INSERT INTO tenantry_mirror.apart (named, tenant, key) VALUES ({named}, TG_ARGV[0], {key_text});
      END;
    ELSE
      EXECUTE 'UPDATE ' || into_ || {change} || {returning_changed} INTO same USING NEW, OLD, TG_ARGV[0];
    END IF;
  END IF;
  IF TG_OP <> 'INSERT' AND same IS NULL AND NOT after THEN
    EXECUTE 'SELECT EXISTS (SELECT FROM ' || into_ || {there} || ')' INTO held USING OLD, TG_ARGV[0];
  END IF;
  IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND same IS NULL AND NOT held AND NOT after) THEN
    EXECUTE 'INSERT INTO ' || into_ || {insertion} || CASE WHEN after THEN ' ON CONFLICT DO NOTHING' ELSE '' END
      || {returning_new} INTO same USING NEW, TG_ARGV[0];
    IF after AND same IS NULL THEN
      INSERT INTO tenantry_mirror.apart (named, tenant, key) VALUES ({named}, TG_ARGV[0], {key_text});
    END IF;
  END IF;
  IF after THEN
    PERFORM set_config('tenantry.mirrored', '', true);
  ELSIF same IS NOT TRUE THEN
    PERFORM set_config('tenantry.mirrored', 'on', true);
    IF TG_OP = 'DELETE' THEN
      IF held THEN
        {keeping}
        EXECUTE 'INSERT INTO ' || own || {return_row} || into_ || {there} || ' ON CONFLICT DO NOTHING'
          USING OLD, TG_ARGV[0];
      END IF;
    ELSIF held THEN
      EXECUTE 'UPDATE ' || own || {return_values} || into_ || {return_which} USING NEW, OLD, TG_ARGV[0];
    ELSE
      EXECUTE 'DELETE FROM ' || own || {own_removal} USING NEW;
    END IF;
    PERFORM set_config('tenantry.mirrored', '', true);
  END IF;
  RETURN NULL;
END
$tenantry_mirror$

-- name: create_truncate_function
-- locks: none on tables; a new function.
CREATE OR REPLACE FUNCTION tenantry_mirror.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $tenantry_mirror$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
    MESSAGE = format('%I.%I can''t be truncated while it is kept the same as others', TG_TABLE_SCHEMA, TG_TABLE_NAME),
    HINT = 'DELETE FROM it: that is written to the other side too';
END
$tenantry_mirror$

-- name: create_copy_function
-- locks: none on tables; a new function. It inserts rows of {shared} into one tenant's table, and leaves those that are
-- there as they are: they are newer.
CREATE OR REPLACE FUNCTION {function}(text, {shared}[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {search_path}
AS $tenantry_mirror$
DECLARE
  is_in text;
  written bigint;
BEGIN
  SELECT s.schema INTO STRICT is_in FROM tenantry_mirror.schemas AS s WHERE s.tenant = $1;
  PERFORM set_config('tenantry.mirrored', 'on', true);
  EXECUTE 'INSERT INTO ' || quote_ident(is_in) || {insertion} USING $2;
  GET DIAGNOSTICS written = ROW_COUNT;
  PERFORM set_config('tenantry.mirrored', '', true);
  RETURN written;
END
$tenantry_mirror$

-- name: create_trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done. Its name comes before all
-- others on the table: a trigger that changes the row again is written after what it changed.
CREATE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE ON {table}
FOR EACH ROW EXECUTE FUNCTION {function}({argument})

-- name: create_truncate_trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
CREATE TRIGGER {trigger} BEFORE TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION tenantry_mirror.refuse_truncate()

-- name: drop_trigger
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds.
DROP TRIGGER {trigger} ON {table}

-- name: drop_all
-- locks: ACCESS EXCLUSIVE on tables of ours, which nobody uses any more: triggers and tenants' tables are gone.
DROP SCHEMA tenantry_mirror CASCADE

-- name: is_switched
-- locks: ACCESS SHARE on a table of ours.
SELECT coalesce(bool_or(switched), false) FROM tenantry_mirror.tables

-- name: set_guards
-- locks: SHARE ROW EXCLUSIVE on the shared tables, which are locked already. After the switch the schema tells whose a row
-- is: the write guard, which tells it by the row, would take it to another tenant on the shared side alone.
DO $tenantry_mirror$
DECLARE
  each record;
BEGIN
  FOR each IN
    SELECT t.tgrelid::regclass AS on_table, t.tgname FROM pg_trigger AS t
    JOIN pg_proc AS f ON f.oid = t.tgfoid JOIN pg_namespace AS n ON n.oid = f.pronamespace
    WHERE n.nspname = 'tenantry_guard' AND t.tgrelid IN (SELECT shared FROM tenantry_mirror.tables)
  LOOP
    EXECUTE format('ALTER TABLE %s {enabled} TRIGGER %I', each.on_table, each.tgname);
  END LOOP;
END
$tenantry_mirror$
