-- What `check` looks at before anything is touched. Nothing here writes; what reads a whole table has a time
-- limit of its own.

-- name: rights
-- locks: ACCESS SHARE on the catalog.
SELECT r.rolname::text AS role, r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
       pg_has_role(r.oid, 'pg_monitor', 'USAGE') AS monitors,
       has_database_privilege(current_database(), 'CREATE') AS makes_schemas
FROM pg_roles AS r WHERE r.rolname = current_user;

-- name: not_owned
-- locks: ACCESS SHARE on the catalog. Tables whose owner we may not act as: ALTER TABLE is the owner's.
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.oid = ANY (%(tables)s::oid[]) AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1;

-- name: closed_schemas
-- locks: ACCESS SHARE on the catalog. Schemas of the tables in which this role may not make an index.
SELECT DISTINCT n.oid::regnamespace::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(tables)s::oid[]) AND NOT has_schema_privilege(n.oid, 'CREATE') ORDER BY 1;

-- name: may_set
-- locks: none. PostgreSQL 15 and later.
SELECT has_parameter_privilege('track_functions', 'SET');

-- name: settings
-- locks: none.
SELECT current_setting('track_functions') IN ('pl', 'all') AS counts_functions,
       current_setting('autovacuum')::boolean AS autovacuum,
       current_setting('transaction_read_only')::boolean AS read_only;

-- name: long_transactions
-- locks: ACCESS SHARE on the catalog. Without pg_monitor only our own role's are seen.
SELECT format('pid %%s, %%s as %%s, for %%s min', pid, coalesce(nullif(application_name, ''), 'no application name'),
              usename, round(extract(epoch FROM clock_timestamp() - xact_start) / 60))
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND xact_start < clock_timestamp() - make_interval(secs => %(seconds)s) ORDER BY xact_start;

-- name: prepared_transactions
-- locks: ACCESS SHARE on the catalog.
SELECT format('%s by %s since %s', gid, owner, prepared::timestamp(0))
FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared;

-- name: publications
-- locks: ACCESS SHARE on the catalog. Publications that hold one of the tables whole (a list of columns leaves
--   the new one out; 14 has no such lists), and whether anybody subscribes.
SELECT format('%%s (%%s)', p.pubname, string_agg(p.tablename, ', ' ORDER BY p.tablename)) AS publication,
       EXISTS (SELECT FROM pg_replication_slots AS s
               WHERE s.slot_type = 'logical' AND s.database = current_database()) AS subscribed
FROM pg_publication_tables AS p
WHERE format('%%I.%%I', p.schemaname, p.tablename)::regclass = ANY (%(tables)s::oid[]::regclass[])
  AND NOT EXISTS (
    SELECT FROM pg_publication AS named JOIN pg_publication_rel AS r ON r.prpubid = named.oid
    WHERE named.pubname = p.pubname AND r.prrelid = format('%%I.%%I', p.schemaname, p.tablename)::regclass
      AND to_jsonb(r) ->> 'prattrs' IS NOT NULL
  )
GROUP BY p.pubname ORDER BY 1;

-- name: bypassing_sessions
-- locks: ACCESS SHARE on the catalog. Clients whose role no policy holds.
SELECT DISTINCT format('%s (%s)', r.rolname, coalesce(nullif(a.application_name, ''), 'no application name'))
FROM pg_stat_activity AS a JOIN pg_roles AS r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND (r.rolsuper OR r.rolbypassrls)
  AND a.application_name NOT LIKE 'tenantry %' ORDER BY 1;

-- name: inheritance
-- locks: ACCESS SHARE on the catalog. Tables with parents or children.
SELECT DISTINCT t.oid::regclass::text FROM unnest(%(tables)s::oid[]) AS t (oid)
JOIN pg_inherits AS i ON t.oid IN (i.inhrelid, i.inhparent) ORDER BY 1;

-- name: taken_names
-- locks: ACCESS SHARE on the catalog. Relations of the table's schema that have a name the plan wants.
SELECT c.relname::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s) ORDER BY 1;

-- name: statement_timeout
-- locks: none.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: explain_source
-- locks: ACCESS SHARE on {rows}, a table and what its tenant comes from; nothing is run.
EXPLAIN SELECT {tenant} FROM {rows} AS planned;

-- name: is_pattern
-- locks: none. Whether the server can read the pattern, and which of these tenants break it.
SELECT tenant FROM unnest(%(tenants)s::text[]) AS given (tenant) WHERE tenant !~ %(pattern)s;

-- name: unresolved
-- locks: ACCESS SHARE on {rows}: a scan under a time limit, until the first few are found.
SELECT {key}::text FROM {rows} AS t WHERE nullif({tenant}, '') IS NULL LIMIT 3;

-- name: crossing
-- locks: ACCESS SHARE on {child} and {parent}: a join under a time limit. Rows whose parent will be another
--   tenant's.
SELECT count(*) AS rows, min({example}::text) AS example
FROM {child} AS child JOIN {parent} AS parent ON {pairs}
WHERE nullif(child.{tenant}, '') <> nullif(parent.{tenant}, '');

-- name: planned
-- locks: none of its own: a table with its rows' tenants, inside another statement.
(SELECT t.*, {value}::text AS {tenant} FROM {table} AS t);

-- name: planned_related
-- locks: none of its own: a table with its rows' tenants, inside another statement. Joined, so that a
--   large table is hashed and not looked up row by row.
(SELECT t.*, {value} AS {tenant} FROM {table} AS t LEFT JOIN {related} AS r ON {pairs});
