-- A schema for each tenant, with tables like the shared ones. The statements of one tenant are sent together, in one
-- transaction: there is all of it, or nothing. New tables are nobody else's yet, so what locks them makes nobody wait.

-- name: bare_search_path
-- locks: none; it ends with the reading's transaction. Every definition comes back with its names in full.
SELECT set_config('search_path', '', true)

-- name: pattern
-- locks: ACCESS SHARE on the tables for an instant, and on the system catalogs. All of the shared tables that LIKE doesn't
-- bring, or brings under another name: definitions as the server writes them, and where in them the table's name stands.
SELECT c.oid::bigint, jsonb_build_object(
  'schema_', n.nspname, 'name', c.relname, 'quoted', format('%%I.%%I', n.nspname, c.relname),
  'owner', pg_get_userbyid(c.relowner), 'unlogged', c.relpersistence = 'u', 'replica_identity', c.relreplident::text,
  'options', (
    SELECT coalesce(jsonb_agg(o.option), '[]') FROM (
      SELECT unnest(c.reloptions) AS option
      UNION ALL
      SELECT 'toast.' || unnest(toast.reloptions) FROM pg_class AS toast WHERE toast.oid = c.reltoastrelid) AS o),
  'comment', obj_description(c.oid, 'pg_class'),
  'columns', (
    SELECT jsonb_agg(jsonb_build_object(
      'name', a.attname, 'generated', a.attgenerated <> '', 'identity', a.attidentity::text,
      'sequence', CASE WHEN a.attidentity <> '' THEN pg_get_serial_sequence(format('%%I.%%I', n.nspname, c.relname), a.attname) END,
      'target', nullif(a.attstattarget, -1), 'options', coalesce(to_jsonb(a.attoptions), '[]')
    ) ORDER BY a.attnum)
    FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'indexes', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', i.relname, 'quoted', quote_ident(i.relname), 'unique', x.indisunique, 'definition', pg_get_indexdef(i.oid),
      'columns', (SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]') FROM pg_attribute AS a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND (a.attnum = ANY (x.indkey::int2[]) OR x.indexprs IS NOT NULL OR x.indpred IS NOT NULL)),
      'constraint', k.contype::text, 'constraint_definition', CASE k.contype WHEN 'x' THEN pg_get_constraintdef(k.oid) END,
      'targets', (SELECT coalesce(jsonb_object_agg(a.attnum, a.attstattarget), jsonb_build_object()) FROM pg_attribute AS a
                  WHERE a.attrelid = i.oid AND a.attstattarget >= 0),
      'clustered', x.indisclustered, 'replica_identity', x.indisreplident,
      'comment', obj_description(i.oid, 'pg_class'), 'constraint_comment', obj_description(k.oid, 'pg_constraint')
    ) ORDER BY k.contype IS DISTINCT FROM 'p', i.relname), '[]')
    FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
    LEFT JOIN pg_constraint AS k ON k.conindid = i.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x')
    WHERE x.indrelid = c.oid AND x.indisvalid AND x.indisready),
  'key', (
    SELECT jsonb_agg(a.attname ORDER BY k.place)
    FROM pg_constraint AS p CROSS JOIN LATERAL unnest(p.conkey) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.number
    WHERE p.conrelid = c.oid AND p.contype = 'p'),
  'references_', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', k.conname, 'definition', pg_get_constraintdef(k.oid), 'deferrable', k.condeferrable, 'deferred', k.condeferred,
      'restricts', k.confdeltype = 'r' OR k.confupdtype = 'r', 'target', k.confrelid::bigint,
      'target_quoted', format('%%I.%%I', tn.nspname, t.relname),
      'columns', (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.place)
                  FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
                  JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = u.number),
      'comment', obj_description(k.oid, 'pg_constraint')
    ) ORDER BY k.conname), '[]')
    FROM pg_constraint AS k JOIN pg_class AS t ON t.oid = k.confrelid JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE k.conrelid = c.oid AND k.contype = 'f'),
  'statistics', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', s.stxname, 'quoted', format('%%I.%%I', sn.nspname, s.stxname), 'definition', pg_get_statisticsobjdef(s.oid),
      'target', nullif(s.stxstattarget, -1), 'comment', obj_description(s.oid, 'pg_statistic_ext')
    ) ORDER BY s.stxname), '[]')
    FROM pg_statistic_ext AS s JOIN pg_namespace AS sn ON sn.oid = s.stxnamespace WHERE s.stxrelid = c.oid),
  'grants', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'privilege', g.privilege_type, 'column', g.on_column, 'grantable', g.grantable,
      'role', CASE WHEN g.grantee <> 0 THEN pg_get_userbyid(g.grantee) END
    ) ORDER BY g.grantee, g.privilege_type, g.on_column), '[]')
    FROM (
      -- Once, however many gave it: a copy has it from its owner.
      SELECT e.grantee, e.privilege_type, NULL::name AS on_column, bool_or(e.is_grantable) AS grantable
      FROM aclexplode(c.relacl) AS e GROUP BY 1, 2
      UNION ALL
      SELECT e.grantee, e.privilege_type, a.attname, bool_or(e.is_grantable)
      FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS e
      WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped GROUP BY 1, 2, 3
    ) AS g WHERE g.grantee <> c.relowner),
  'owner_lacks', (
    SELECT coalesce(jsonb_agg(d.privilege_type ORDER BY d.privilege_type), '[]')
    FROM aclexplode(acldefault('r', c.relowner)) AS d
    WHERE c.relacl IS NOT NULL AND NOT EXISTS (
      SELECT FROM aclexplode(c.relacl) AS e WHERE e.grantee = c.relowner AND e.privilege_type = d.privilege_type)),
  'triggers', (
    SELECT coalesce(jsonb_agg(jsonb_build_object(
      'name', t.tgname, 'definition', pg_get_triggerdef(t.oid), 'enabled', t.tgenabled::text,
      'conditional', t.tgqual IS NOT NULL, 'comment', obj_description(t.oid, 'pg_trigger')
    ) ORDER BY t.tgname), '[]')
    FROM pg_trigger AS t JOIN pg_proc AS f ON f.oid = t.tgfoid JOIN pg_namespace AS fn ON fn.oid = f.pronamespace
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND fn.nspname <> ALL (%(ours)s::text[]))
)
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s)

-- name: tenants
-- locks: ACCESS SHARE on {table}; a read of all of it. The tenants that have rows.
SELECT DISTINCT {tenant} FROM {table}

-- name: schemas_called
-- locks: ACCESS SHARE on a system catalog. Those of the names that are schemas already.
SELECT nspname FROM pg_namespace WHERE nspname = ANY (%(names)s::text[])

-- name: create_schema
-- locks: none on tables; an entry in a catalog.
CREATE SCHEMA {schema}

-- name: create_table
-- locks: ACCESS SHARE on {shared} for milliseconds; a new table. An identity is not taken over: ids stay unique over all
-- tenants as long as there is a way back, so that a copy draws on the shared table's sequence.
CREATE {unlogged} TABLE {table} (LIKE {shared} INCLUDING COMMENTS INCLUDING COMPRESSION INCLUDING CONSTRAINTS
  INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING STORAGE) {options}

-- name: drop_column
-- locks: ACCESS EXCLUSIVE on {table}, which is new. The schema is the tenant: old statements run unchanged.
ALTER TABLE {table} DROP COLUMN {column}

-- name: set_default
-- locks: ACCESS EXCLUSIVE on {table}, which is new.
ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}

-- name: index
-- locks: SHARE on {table}, which is new and empty.
{beginning} ON {table} USING {definition}

-- name: key_of_index
-- locks: ACCESS EXCLUSIVE on {table}, which is new.
ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name}

-- name: add_constraint
-- locks: ACCESS EXCLUSIVE on {table}, which is new; for a foreign key SHARE ROW EXCLUSIVE on it and on what it points to,
-- each for milliseconds: it checks no row.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition}

-- name: statistics
-- locks: SHARE UPDATE EXCLUSIVE on {table}, which is new.
CREATE STATISTICS {name} {definition} FROM {table}

-- name: statistics_target
-- locks: SHARE UPDATE EXCLUSIVE on its table, which is new.
ALTER STATISTICS {name} SET STATISTICS {target}

-- name: column_target
-- locks: SHARE UPDATE EXCLUSIVE on {relation}, a table or an index, which is new.
ALTER {kind} {relation} ALTER COLUMN {column} SET STATISTICS {target}

-- name: column_options
-- locks: SHARE UPDATE EXCLUSIVE on {table}, which is new.
ALTER TABLE {table} ALTER COLUMN {column} SET ({options})

-- name: owner
-- locks: ACCESS EXCLUSIVE on {table}, which is new. Unless we are a superuser the new owner must be one who may create in the
-- schema at that moment.
DO $tenantry_mirror$
BEGIN
  IF {name} <> current_user THEN
    GRANT CREATE ON SCHEMA {schema} TO {role};
    ALTER TABLE {table} OWNER TO {role};
    REVOKE CREATE ON SCHEMA {schema} FROM {role};
  END IF;
END
$tenantry_mirror$

-- name: revoke_defaults
-- locks: none on rows; the privileges of a new table. Default privileges may have given it some that the shared table hasn't.
DO $tenantry_mirror$
DECLARE
  given record;
BEGIN
  FOR given IN
    SELECT DISTINCT CASE WHEN e.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(e.grantee)) END AS role
    FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS e
    WHERE c.oid = {name}::regclass AND e.grantee <> c.relowner
  LOOP
    EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', {name}, given.role);
  END LOOP;
END
$tenantry_mirror$

-- name: revoke
-- locks: none on rows; the privileges of a new table.
REVOKE {privilege} ON TABLE {table} FROM {role}

-- name: grant
-- locks: none on rows; the privileges of a new table.
GRANT {privilege} ON TABLE {table} TO {role} {grantable}

-- name: grant_usage
-- locks: none; the privileges of a new schema.
GRANT USAGE ON SCHEMA {schema} TO {role}

-- name: comment
-- locks: SHARE UPDATE EXCLUSIVE on the table that the comment is about, which is new.
COMMENT ON {what} IS {comment}

-- name: cluster_on
-- locks: SHARE UPDATE EXCLUSIVE on {table}, which is new.
ALTER TABLE {table} CLUSTER ON {index}

-- name: replica_identity
-- locks: ACCESS EXCLUSIVE on {table}, which is new.
ALTER TABLE {table} REPLICA IDENTITY {identity}

-- name: trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds once the writers before it are done.
{beginning} ON {table} {definition}

-- name: set_trigger
-- locks: SHARE ROW EXCLUSIVE on {table}, for milliseconds.
ALTER TABLE {table} {enabled} TRIGGER {trigger}

-- name: drop_trigger
-- locks: ACCESS EXCLUSIVE on {table}, for milliseconds.
DROP TRIGGER {trigger} ON {table}

-- name: drop_constraint
-- locks: ACCESS EXCLUSIVE on {table} and what it points to, for milliseconds.
ALTER TABLE {table} DROP CONSTRAINT {name}

-- name: alter_constraint
-- locks: ACCESS EXCLUSIVE on {table}, and on what it points to, for milliseconds.
ALTER TABLE {table} ALTER CONSTRAINT {name} {deferrability}

-- name: validate
-- locks: SHARE UPDATE EXCLUSIVE on {table} and ROW SHARE on what it points to: no write waits.
ALTER TABLE {table} VALIDATE CONSTRAINT {name}

-- name: analyze
-- locks: SHARE UPDATE EXCLUSIVE on one tenant's tables: no write waits.
ANALYZE {tables}

-- name: rename
-- locks: ACCESS EXCLUSIVE on {table}, for milliseconds.
ALTER TABLE {table} RENAME TO {name}

-- name: drop_tables
-- locks: ACCESS EXCLUSIVE on one tenant's tables, and on what they point to, for milliseconds.
DROP TABLE {tables}

-- name: drop_schema
-- locks: none on tables. Without CASCADE: what somebody else put there stays, and the way back says so.
DROP SCHEMA {schema}

-- name: lock
-- locks: SHARE ROW EXCLUSIVE or ACCESS EXCLUSIVE ({mode}) on one tenant's tables, parents first, as writers lock them: taken child by child, as ALTER TABLE would, each of
-- the two waited for the other until our time was over.
LOCK TABLE {tables} IN {mode} MODE

-- name: limits
-- locks: nothing. For the transactions on tables that are in use: they give way at once, and are tried again.
SELECT set_config('lock_timeout', '200ms', true)

-- name: oids
-- locks: none; to_regclass looks the names up without touching the tables.
SELECT to_regclass(name)::oid::bigint FROM unnest(%(names)s::text[]) WITH ORDINALITY AS n (name, place) ORDER BY place

-- name: not_valid
-- locks: ACCESS SHARE on the system catalogs. Foreign keys of tenants' tables that no row was looked at for.
SELECT format('%%s of %%s', k.conname, k.conrelid::regclass) FROM pg_constraint AS k
JOIN pg_namespace AS n ON n.oid = k.connamespace
WHERE n.nspname = ANY (%(schemas)s::text[]) AND k.contype = 'f' AND NOT k.convalidated ORDER BY 1

-- name: path
-- locks: none; it ends with the transaction.
SET LOCAL search_path = {path}

-- name: count
-- locks: ACCESS SHARE on {table}; a read of all of it.
SELECT count(*) FROM {table}

-- name: rules
-- locks: ACCESS SHARE on the system catalogs.
SELECT format('%%s of %%s', r.rulename, r.ev_class::regclass) FROM pg_rewrite AS r
WHERE r.ev_class = ANY (%(oids)s::oid[]) ORDER BY 1

-- name: deferrable_exclusions
-- locks: ACCESS SHARE on the system catalogs.
SELECT format('%%s of %%s', k.conname, k.conrelid::regclass) FROM pg_constraint AS k
WHERE k.conrelid = ANY (%(oids)s::oid[]) AND k.contype = 'x' AND k.condeferrable ORDER BY 1
