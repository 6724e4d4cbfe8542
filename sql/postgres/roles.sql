-- The three roles of least privilege: what the script of `tenantry roles --sql` grants, and what the controller grants on
-- what it makes itself. The script is for whoever may make roles; the program sends none of it.

-- name: make
-- locks: ROW EXCLUSIVE on the catalog of roles; nobody waits for it.
DO $tenantry$
BEGIN
  CREATE ROLE {role} {login};
EXCEPTION WHEN duplicate_object THEN
  NULL;
END
$tenantry$

-- name: past_policies
-- locks: ROW EXCLUSIVE on the catalog of roles; nobody waits for it.
ALTER ROLE {role} BYPASSRLS

-- name: member
-- locks: ROW EXCLUSIVE on the catalog of memberships; nobody waits for it.
GRANT {of} TO {role}

-- name: on_database
-- locks: ROW EXCLUSIVE on the catalog of databases; nobody waits for it.
GRANT {rights} ON DATABASE {database} TO {role}

-- name: on_schema
-- locks: ROW EXCLUSIVE on the catalog of schemas; nobody waits for it.
GRANT {rights} ON SCHEMA {schema} TO {role}

-- name: on_table
-- locks: none on {table}; its entry in the catalog is written.
GRANT {rights} ON TABLE {table} TO {role}

-- name: on_function
-- locks: none on tables; the function's entry in the catalog is written.
GRANT EXECUTE ON FUNCTION {function} TO {role}

-- name: on_parameter
-- locks: none on tables; PostgreSQL 15 and later.
GRANT SET ON PARAMETER {parameter} TO {role}

-- name: ledger_usage
-- locks: none on tables; the schema's entry in the catalog is written, once for each ledger.
GRANT USAGE ON SCHEMA tenantry TO {role}

-- name: ledger_rights
-- locks: none on tables; entries in the catalog of the ledger's own tables are written, once for each ledger.
GRANT {rights} ON TABLE tenantry.{table} TO {role}

-- name: guard_lacks
-- locks: ACCESS SHARE on the catalog; a read. The sequences that count the guards' uses and that this role may not read yet.
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'tenantry_guard' AND pg_has_role(c.relowner, 'USAGE')
  AND NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(to_regrole(quote_ident(%(role)s))::oid, c.oid, 'SELECT') END
ORDER BY 1

-- name: guard_for_exporter
-- locks: none on tables; the sequence's entry in the catalog is written, once for each sequence.
GRANT SELECT ON SEQUENCE tenantry_guard.{sequence} TO {role}

-- name: is_there
-- locks: ACCESS SHARE on the catalog; a read.
SELECT to_regrole(quote_ident(%(role)s)) IS NOT NULL AS there

-- name: ledger_lacks
-- locks: ACCESS SHARE on the catalog; a read. What a worker or an exporter needs of the ledger and has not: right by right, for
-- a ledger that a later version has upgraded has tables that were not there when the role was let in.
-- Of a job a worker writes how it stands, of a migration that it holds, and nothing else: both keep SQL (expressions,
-- definitions for the way back) that the controller sends. Of what is set aside an exporter may count rows and not read them:
-- keys and messages hold values of the application's.
WITH wanted (who, name, columns, rights) AS (VALUES
    ('worker', 'migrations', NULL::text[], ARRAY['SELECT']), ('worker', 'migrations', ARRAY['held'], ARRAY['UPDATE']),
    ('worker', 'jobs', NULL, ARRAY['SELECT']), ('worker', 'jobs', ARRAY['state', 'reason', 'finished_at'], ARRAY['UPDATE']),
    ('worker', 'version', NULL, ARRAY['SELECT']),
    ('worker', 'batches', NULL, ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('worker', 'governor', NULL, ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('worker', 'paces', NULL, ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('worker', 'holds', NULL, ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('worker', 'quarantine', NULL, ARRAY['SELECT', 'INSERT']),
    ('worker', 'quarantine', ARRAY['batch_id', 'message'], ARRAY['UPDATE']),
    ('worker', 'events', NULL, ARRAY['SELECT', 'INSERT']),
    ('worker', 'assigned', NULL, ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('exporter', 'migrations', NULL, ARRAY['SELECT']), ('exporter', 'stages', NULL, ARRAY['SELECT']),
    ('exporter', 'jobs', NULL, ARRAY['SELECT']), ('exporter', 'batches', NULL, ARRAY['SELECT']),
    ('exporter', 'governor', NULL, ARRAY['SELECT']), ('exporter', 'events', NULL, ARRAY['SELECT']),
    ('exporter', 'version', NULL, ARRAY['SELECT']), ('exporter', 'quarantine', ARRAY['id', 'job_id'], ARRAY['SELECT'])
)
SELECT w.name, one.column_name, r.what
FROM wanted AS w CROSS JOIN unnest(w.rights) AS r (what) CROSS JOIN unnest(coalesce(w.columns, ARRAY[NULL])) AS one (column_name)
JOIN pg_class AS c ON c.relnamespace = 'tenantry'::regnamespace AND c.relname = w.name
WHERE w.who = %(who)s AND NOT CASE WHEN one.column_name IS NULL
    THEN has_table_privilege(%(role)s::name, c.oid, r.what)
    ELSE has_column_privilege(%(role)s::name, c.oid, one.column_name, r.what) END
UNION ALL
SELECT NULL, NULL, 'USAGE' WHERE NOT has_schema_privilege(%(role)s::name, 'tenantry', 'USAGE')

-- name: ledger_exceeds
-- locks: ACCESS SHARE on the catalog; a read. Tables of the ledger that a worker was once granted to write as a whole.
SELECT c.relname::text AS name FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relnamespace = 'tenantry'::regnamespace AND c.relname IN ('migrations', 'jobs')
  AND a.privilege_type = 'UPDATE' AND a.grantee = to_regrole(quote_ident(%(role)s)) AND a.grantee <> c.relowner
ORDER BY 1

-- name: ledger_revoked
-- locks: none on tables; the table's entry in the catalog is written, once.
REVOKE UPDATE ON TABLE tenantry.{table} FROM {role}

-- name: ledger_owner
-- locks: ACCESS SHARE on the catalog; a read.
SELECT quote_ident(r.rolname) FROM pg_namespace AS n JOIN pg_roles AS r ON r.oid = n.nspowner WHERE n.nspname = 'tenantry'

-- name: database
-- locks: ACCESS SHARE on the catalog; a read. Of this database: its name, and whether everybody may connect.
SELECT d.datname::text AS name, EXISTS (
    SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
    WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') AS open,
    current_setting('archive_mode') <> 'off' AS archives,
    current_setting('track_functions') IN ('pl', 'all') AS counts_functions
FROM pg_database AS d WHERE d.datname = current_database()

-- name: relations
-- locks: ACCESS SHARE on the catalog; a read. The tables by the plan's names with their partitions, and what is altered with
-- them: tables whose foreign keys point to them, and views that lean on their keys. `ours`: of the plan, and no lookup.
-- `held_write`: a role that the policies hold may do everything with its rows.
WITH RECURSIVE named AS (
    SELECT to_regclass(given.identifier)::oid AS oid, min(given.name) AS name, bool_or(given.ours) AS ours
    FROM unnest(%(names)s::text[], %(identifiers)s::text[], %(ours)s::boolean[]) AS given (name, identifier, ours)
    WHERE to_regclass(given.identifier) IS NOT NULL GROUP BY 1
), tree (oid, ours) AS (
    SELECT oid, ours FROM named
    UNION
    SELECT i.inhrelid, tree.ours FROM tree JOIN pg_inherits AS i ON i.inhparent = tree.oid
), altered AS (
    SELECT oid, bool_or(ours) AS ours FROM tree GROUP BY oid
    UNION ALL
    SELECT DISTINCT k.conrelid, false FROM pg_constraint AS k
    WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM tree WHERE ours)
      AND k.conrelid NOT IN (SELECT oid FROM tree)
    UNION ALL
    SELECT DISTINCT r.ev_class, false FROM pg_depend AS d
    JOIN pg_rewrite AS r ON r.oid = d.objid JOIN pg_constraint AS k ON k.oid = d.refobjid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_constraint'::regclass
      AND k.conrelid IN (SELECT oid FROM tree WHERE ours)
)
SELECT n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind, named.name AS named, altered.ours,
       EXISTS (SELECT FROM pg_constraint AS k
               WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid IN (SELECT oid FROM tree WHERE ours)) AS pointed_to,
       o.rolname::text AS owner, o.rolsuper AS owner_is_superuser, c.relrowsecurity AS row_security,
       has_schema_privilege(o.oid, n.oid, 'CREATE') AS owner_creates,
       EXISTS (SELECT FROM pg_roles AS held WHERE held.rolname = ANY (%(held)s)
               AND has_table_privilege(held.oid, c.oid, 'SELECT') AND has_table_privilege(held.oid, c.oid, 'INSERT')
               AND has_table_privilege(held.oid, c.oid, 'UPDATE') AND has_table_privilege(held.oid, c.oid, 'DELETE')
       ) AS held_write,
       EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
               WHERE a.grantee = 0 AND a.privilege_type = 'USAGE') AS schema_open
FROM altered JOIN pg_class AS c ON c.oid = altered.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS o ON o.oid = c.relowner LEFT JOIN named ON named.oid = c.oid
ORDER BY 1, 2

-- name: closed_functions
-- locks: ACCESS SHARE on the catalog; a read. Functions that not everybody may run and that an update of these tables runs (of
-- a check, a default or an index: `by_tables`), or that an expression of the plan names; whether an owner may run them.
SELECT found.schema, found.name, found.arguments, found.by_tables, found.owner_runs FROM (
    SELECT n.nspname::text AS schema, p.proname::text AS name, pg_get_function_identity_arguments(p.oid) AS arguments,
           EXISTS (
               SELECT FROM pg_depend AS d
               LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
               LEFT JOIN pg_index AS i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
               LEFT JOIN pg_attrdef AS f ON d.classid = 'pg_attrdef'::regclass AND f.oid = d.objid
               WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = p.oid
                 AND coalesce(k.conrelid, i.indrelid, f.adrelid) = ANY (%(tables)s::regclass[]::oid[])) AS by_tables,
           p.prorettype <> 'trigger'::regtype AND EXISTS (
               SELECT FROM unnest(%(expressions)s::text[]) AS said (text)
               WHERE strpos(lower(said.text), lower(p.proname)) > 0) AS by_plan,
           EXISTS (
               SELECT FROM pg_class AS c WHERE c.oid = ANY (%(tables)s::regclass[]::oid[])
                 AND has_function_privilege(c.relowner, p.oid, 'EXECUTE')) AS owner_runs
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE p.prokind = 'f' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'tenantry%%'
      AND NOT EXISTS (
        SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
        WHERE a.grantee = 0 AND a.privilege_type = 'EXECUTE')
) AS found WHERE found.by_tables OR found.by_plan ORDER BY 1, 2, 3
