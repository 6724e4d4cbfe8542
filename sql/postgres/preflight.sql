-- What `check` looks at before anything is touched. Nothing here writes; what reads a whole table has a time
-- limit of its own.

-- name: rights
-- locks: ACCESS SHARE on the catalog.
SELECT r.rolname::text AS role, r.rolsuper AS superuser, r.rolbypassrls AS bypasses,
       pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE') AS monitors,
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

-- name: trees
-- locks: ACCESS SHARE on the catalog. The tables and their partitions, at whatever level.
WITH RECURSIVE tree (oid) AS (
  SELECT root.oid FROM unnest(%(tables)s::oid[]) AS root (oid)
  UNION
  SELECT i.inhrelid FROM tree JOIN pg_inherits AS i ON i.inhparent = tree.oid
)
SELECT oid::bigint FROM tree ORDER BY 1;

-- name: partitioned_by
-- locks: ACCESS SHARE on the catalog. Partitioned tables whose partition key holds the column, as it is or in an
--   expression: each of its columns depends on its own table by an internal entry, and no others do.
SELECT d.objid::regclass::text FROM pg_depend AS d
JOIN pg_attribute AS a ON a.attrelid = d.objid AND a.attnum = d.objsubid
JOIN pg_partitioned_table AS p ON p.partrelid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = d.objid
  AND d.refobjsubid = 0 AND d.deptype = 'i' AND d.objid = ANY (%(tables)s::oid[]) AND a.attname = %(column)s ORDER BY 1;

-- name: update_rules
-- locks: ACCESS SHARE on the catalog. Rules that would take the place of a batch's update, or come beside it.
SELECT format('%%s of %%s', r.rulename, r.ev_class::regclass) FROM pg_rewrite AS r
WHERE r.ev_class = ANY (%(tables)s::oid[]) AND r.ev_type = '2'
  AND r.ev_enabled IN ('A', CASE WHEN %(held)s THEN 'R' ELSE 'O' END) ORDER BY 1;

-- name: hold_triggers
-- locks: none; for the transaction that runs. Whether the role may: the server says no by an error.
SELECT set_config('session_replication_role', 'replica', true);

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

-- name: explain_join
-- locks: ACCESS SHARE on {ours} and {theirs}; nothing is run.
EXPLAIN SELECT FROM {ours} AS t JOIN {theirs} AS r ON {pairs};

-- name: explain_value
-- locks: ACCESS SHARE on {rows} and what the value reads; nothing is run.
EXPLAIN SELECT {value} FROM {rows} AS t;

-- name: without_generated
-- locks: none of its own: {table} with some of its columns, inside another statement.
(SELECT {columns} FROM {table} AS s)

-- name: ambiguous
-- locks: ACCESS SHARE on {rows}: a scan under a time limit. Values that several rows have, each of which tells a tenant.
SELECT count(*) AS keys, count(*) FILTER (WHERE tenants > 1) AS torn,
       coalesce((array_agg(format('%%s of %%s', key, named) ORDER BY tenants DESC, key))[1:3], '{{}}') AS examples
FROM (
    SELECT ROW({key})::text AS key, count(DISTINCT {tenant}) AS tenants,
           array_to_string((array_agg(DISTINCT {tenant}))[1:3], ', ') AS named
    FROM {rows} AS r
    WHERE {tenant} <> '' AND {tenant} ~ %(pattern)s AND ROW({key}) IS NOT NULL
    GROUP BY {key} HAVING count(*) > 1
) AS twice;

-- name: is_pattern
-- locks: none. Whether the server can read the pattern, and which of these tenants break it.
SELECT tenant FROM unnest(%(tenants)s::text[]) AS given (tenant) WHERE tenant !~ %(pattern)s;

-- name: unresolved
-- locks: ACCESS SHARE on {rows}: a scan under a time limit, until the first few are found.
SELECT ({key})::text FROM {rows} AS t WHERE nullif({tenant}, '') IS NULL LIMIT 3;

-- name: crossing
-- locks: ACCESS SHARE on {child} and {parent}: a join under a time limit. Rows whose parent will be another
--   tenant's; those of whom the one or the other can't be told are no such rows.
SELECT count(*) AS rows, min({example}::text) AS example
FROM {child} AS child JOIN {parent} AS parent ON {pairs}
WHERE child.{tenant} <> parent.{tenant} AND child.{tenant} ~ %(pattern)s AND parent.{tenant} ~ %(pattern)s
  AND child.{tenant} <> '' AND parent.{tenant} <> '';

-- name: open_schemas
-- locks: ACCESS SHARE on the catalog; a read. Of these schemas, and of those in which this session looks for names, where
-- everybody may create: `public` before 15, and in a database that came from there.
SELECT n.nspname::text FROM pg_namespace AS n
WHERE n.nspname::text = ANY (current_schemas(false)::text[] || %(schemas)s::text[])
  AND EXISTS (SELECT FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) AS a
              WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')
ORDER BY 1;
