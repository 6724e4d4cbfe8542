-- What `verify` asks. Everything runs on a session of ours; isolation is tried as a role that owns nothing
-- and bypasses nothing, made in a transaction that is rolled back.

-- name: tenants
-- locks: ACCESS SHARE on {table}: one scan beside every reader and writer. `unfilled` are rows without a
--   tenant, `malformed` rows whose tenant breaks the pattern; `sample` holds the largest tenants, the smallest,
--   some between, and those named by the plan. Each tenant is held against the pattern once: a bounded repeat as
--   in {{1,255}} takes the server 60 us.
WITH per_tenant AS (
  SELECT {column}::text AS tenant, count(*) AS rows,
         coalesce({column}::text = %(sentinel)s, {column} IS NULL) AS unfilled
  FROM {table} GROUP BY {column}
), judged AS MATERIALIZED (
  SELECT tenant, rows, unfilled, NOT unfilled AND tenant ~ %(pattern)s AS proper FROM per_tenant
), known AS MATERIALIZED (
  SELECT tenant, rows FROM judged WHERE proper
), ranked AS (
  SELECT tenant, row_number() OVER (ORDER BY rows DESC, tenant) AS from_largest,
         row_number() OVER (ORDER BY rows, tenant) AS from_smallest,
         row_number() OVER (ORDER BY md5(tenant)) AS by_chance
  FROM known
)
SELECT coalesce(sum(rows), 0)::bigint AS total,
       coalesce(sum(rows) FILTER (WHERE unfilled), 0)::bigint AS unfilled,
       coalesce(sum(rows) FILTER (WHERE NOT unfilled AND NOT proper), 0)::bigint AS malformed,
       ARRAY(SELECT tenant FROM judged WHERE NOT unfilled AND NOT proper ORDER BY 1 LIMIT 5)
         AS malformed_tenants,
       (SELECT count(*) FROM known) AS tenants,
       ARRAY(
         SELECT tenant FROM ranked
         WHERE from_largest <= %(some)s OR from_smallest <= %(some)s OR by_chance <= %(some)s
            OR tenant = ANY (%(named)s::text[])
         ORDER BY from_largest
       ) AS sample
FROM judged;

-- name: clock
-- locks: none.
SELECT clock_timestamp();

-- name: all_tenants
-- locks: ACCESS SHARE on {table}.
SELECT DISTINCT {column}::text FROM {table} WHERE {column} IS NOT NULL ORDER BY 1;

-- name: rows_of
-- locks: ACCESS SHARE on {table}. As ourselves: what each of these tenants really has.
SELECT {column}::text, count(*) FROM {table} WHERE {column} = ANY (%(tenants)s::text[]) GROUP BY 1;

-- name: role
-- locks: ROW EXCLUSIVE on the catalog of roles until the rollback; nobody waits for a role that nobody knows.
--   Membership gives it every table's rights without touching the tables' own catalog rows, which a running
--   VACUUM wants to change.
CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS IN ROLE pg_read_all_data, pg_write_all_data;

-- name: member
-- locks: ROW EXCLUSIVE on the catalog of memberships until the rollback. A policy that names roles holds their members.
GRANT {of} TO {role};

-- name: unfit
-- locks: ACCESS SHARE on the catalog. Why the role that the plan names can't try isolation; no rows where it can.
WITH named AS (SELECT r.* FROM pg_roles AS r WHERE r.rolname = %(role)s)
SELECT format('there is no role %%s', %(role)s::text) WHERE NOT EXISTS (SELECT FROM named)
UNION ALL
SELECT format('no policy holds %%s: it is %%s', rolname, CASE WHEN rolsuper THEN 'a superuser' ELSE 'BYPASSRLS' END)
FROM named WHERE rolsuper OR rolbypassrls
UNION ALL
SELECT format('GRANT %%I TO %%I, so that we may SET ROLE', rolname, current_user)
FROM named WHERE NOT pg_has_role(current_user, oid, 'MEMBER')
UNION ALL
SELECT format('GRANT %%s ON %%s TO %%I', string_agg(wanted.right, ', '), given.oid::regclass, rolname)
FROM named CROSS JOIN unnest(%(tables)s::oid[]) AS given (oid)
CROSS JOIN unnest('{{SELECT,INSERT,UPDATE,DELETE}}'::text[]) AS wanted ("right")
WHERE NOT has_table_privilege(named.oid, given.oid, wanted.right) GROUP BY given.oid, rolname
UNION ALL
SELECT DISTINCT format('GRANT USAGE ON SCHEMA %%s TO %%I', c.relnamespace::regnamespace, rolname)
FROM named CROSS JOIN pg_class AS c
WHERE c.oid = ANY (%(tables)s::oid[]) AND NOT has_schema_privilege(named.oid, c.relnamespace, 'USAGE')
UNION ALL
SELECT format('GRANT %%I TO %%I, whom the policies hold', wanted.name, rolname)
FROM named CROSS JOIN unnest(%(roles)s::text[]) AS wanted (name)
WHERE CASE WHEN to_regrole(quote_ident(wanted.name)) IS NULL THEN true
      ELSE NOT pg_has_role(named.oid, to_regrole(quote_ident(wanted.name)), 'USAGE') END;

-- name: quiet_triggers
-- locks: none. Neither triggers nor cascades fire for what is tried and rolled back; policies still hold.
SET LOCAL session_replication_role = replica;

-- name: obey_policies
-- locks: none. Our sessions run with row_security off, which makes an error of every filter.
SET LOCAL row_security = on;

-- name: snapshot
-- locks: none. Counts that are compared see the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;

-- name: become
-- locks: none.
SET LOCAL ROLE {role};

-- name: scope
-- locks: none. The tenant of the session until the transaction ends; '' is no tenant.
SELECT set_config(%(setting)s, %(tenant)s, true);

-- name: one_row
-- locks: ROW SHARE on {table}, FOR UPDATE on one row that nobody else holds, for the few ms of its tenant's
--   tries: a row that moved between them would prove nothing.
SELECT ctid::text AS place, tenantry_row::text AS row
FROM {table} AS tenantry_row WHERE {column} = %(tenant)s LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: sees_row
-- locks: ACCESS SHARE on {table}.
SELECT FROM {table} WHERE ctid = %(place)s::tid;

-- name: sees_others
-- locks: ACCESS SHARE on {table}. Counted, not cut off with LIMIT: for a first row that never comes the planner
--   would read the whole table, tenant after tenant.
SELECT FROM {table} WHERE {column} IS DISTINCT FROM %(tenant)s HAVING count(*) > 0;

-- name: sees_anything
-- locks: ACCESS SHARE on {table}.
SELECT FROM {table} LIMIT 1;

-- name: count
-- locks: ACCESS SHARE on {table}.
SELECT count(*) FROM {table} {condition};

-- name: update_row
-- locks: ROW EXCLUSIVE on {table}, rolled back.
UPDATE {table} SET {column} = {column} WHERE ctid = %(place)s::tid;

-- name: move_row
-- locks: ROW EXCLUSIVE on {table}, rolled back.
UPDATE {table} SET {column} = %(tenant)s WHERE ctid = %(place)s::tid;

-- name: delete_row
-- locks: ROW EXCLUSIVE on {table}, rolled back.
DELETE FROM {table} WHERE ctid = %(place)s::tid;

-- name: insert_row
-- locks: ROW EXCLUSIVE on {table}, rolled back.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns} FROM (SELECT (%(row)s::{table}).*) AS given;

-- name: upsert_row
-- locks: ROW EXCLUSIVE on {table}, rolled back.
INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE
SELECT {columns} FROM (SELECT (%(row)s::{table}).*) AS given
ON CONFLICT ({key}) DO UPDATE SET {column} = excluded.{column};

-- name: edges
-- locks: ACCESS SHARE on {child} and {parent}: one join beside every reader and writer. Rows that name a parent
--   which isn't there in their own tenant.
SELECT count(*) AS rows, min({example}) AS example
FROM {child} AS child
WHERE {given} AND {named}
  AND NOT EXISTS (SELECT FROM {parent} AS parent WHERE {pairs} AND parent.{column} = child.{column});

-- name: explain
-- locks: ACCESS SHARE on {table}; nothing is run.
EXPLAIN (FORMAT JSON) SELECT count(*) FROM {table} {condition};

-- name: time
-- locks: ACCESS SHARE on {table}.
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY ON, FORMAT JSON) SELECT count(*) FROM {table} {condition};

-- name: read_only
-- locks: none. The plan's own queries may read only.
SET LOCAL transaction_read_only = on;

-- name: statement_timeout
-- locks: none.
SELECT set_config('statement_timeout', %(milliseconds)s::text, true);

-- name: time_query
-- locks: what the operator's query takes: ACCESS SHARE, for it may only read.
EXPLAIN (ANALYZE, TIMING OFF, SUMMARY ON, FORMAT JSON) {query};

-- name: pages
-- locks: ACCESS SHARE on {table} for an instant.
SELECT pg_relation_size(%(table)s::regclass) / current_setting('block_size')::bigint AS pages;
