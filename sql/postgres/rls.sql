-- Row-level security: the three forms of a policy, the function that counts unscoped access, and what
-- tells whether it has been quiet.

-- name: observe
-- locks: none of its own: an expression inside a policy. The test that the session is unscoped stands
--   *inside* the sub-select: a parallel plan computes it before its workers start, also for scoped sessions,
--   and a test outside it counted every parallel query of theirs.
{column} = nullif(current_setting({setting}, true), '') OR (SELECT tenantry_rls.unscoped(CURRENT_USER) WHERE nullif(current_setting({setting}, true), '') IS NULL);

-- name: permissive
-- locks: none of its own: an expression inside a policy. One equality, so that an index on the tenant serves it.
{column} = coalesce(nullif(current_setting({setting}, true), ''), {legacy});

-- name: strict
-- locks: none of its own: an expression inside a policy. One equality, so that an index on the tenant serves it. A
--   setting that is missing or empty equals nothing: the sub-select gives NULL, and is there to count whoever comes so,
--   for a job of once a month comes long after the quiet time. Its test stands inside it as that of observe does. COLLATE:
--   CURRENT_USER is a name, whose collation would go over to the comparison and keep it from the index.
{column} = coalesce(nullif(current_setting({setting}, true), ''), (SELECT tenantry_rls.unseen(CURRENT_USER) COLLATE "default" WHERE nullif(current_setting({setting}, true), '') IS NULL));

-- name: create_schema
-- locks: none that anybody waits for. A schema apart from the ledger's: DROP SCHEMA tenantry CASCADE must not
--   take policies with it and leave tables that show no rows.
CREATE SCHEMA tenantry_rls;

-- name: create_function
-- locks: none that anybody waits for. It calls one more function, of the role that asks, so that the server's own
--   counts tell who; roles that come later share the last. An exception block would be refused in a parallel plan.
--   Owned by a role that may set track_functions, all are counted in every session at once, whatever the server's
--   own setting; by any other they are counted where that is on. In strict our own sessions don't count: `verify` tries
--   what a session without a tenant sees, as often as an operator likes.
DO $tenantry$
DECLARE
  one oid;
BEGIN
  CREATE FUNCTION tenantry_rls.unscoped(caller name) RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'DECLARE
          own regprocedure := to_regprocedure(format(''tenantry_rls.of_%s()'', to_regrole(quote_ident(caller))::oid));
        BEGIN
          EXECUTE format(''SELECT %s'', coalesce(own::text, ''tenantry_rls.of_0()''));
          RETURN true;
        END';
  CREATE FUNCTION tenantry_rls.unseen(caller name) RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'BEGIN
          IF current_setting(''application_name'') NOT LIKE ''tenantry %'' THEN
            PERFORM tenantry_rls.unscoped(caller);
          END IF;
          RETURN NULL;
        END';
  GRANT EXECUTE ON FUNCTION tenantry_rls.unscoped(name), tenantry_rls.unseen(name) TO PUBLIC;
  FOR one IN
    SELECT 0::oid
    UNION ALL
    (SELECT r.oid FROM pg_roles AS r
     WHERE NOT r.rolsuper AND NOT r.rolbypassrls AND r.oid >= 16384
       AND EXISTS (SELECT FROM unnest(ARRAY[{tables}]::regclass[]) AS t (oid)
                   WHERE has_table_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE, DELETE'))
     ORDER BY EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.usesysid = r.oid) DESC, r.oid LIMIT 100)
  LOOP
    EXECUTE format('CREATE FUNCTION tenantry_rls.of_%s() RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL SAFE '
                   'SET search_path = pg_catalog, pg_temp AS %L', one, 'BEGIN END');
  END LOOP;
  BEGIN
    ALTER FUNCTION tenantry_rls.unscoped(name) SET track_functions = 'pl';
  EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'unscoped access is counted only in sessions with track_functions = pl';
  END;
END
$tenantry$;

-- name: create_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; nothing is read or rewritten. On a table that isn't under
--   row-level security yet it has no effect before that is on.
CREATE POLICY {policy} ON {table} AS {kind} FOR ALL TO {roles} USING ({expression}) WITH CHECK ({expression});

-- name: create_owner_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; nothing is read or rewritten. The owner was not held by the
--   others' policies and would see nothing once row-level security is forced; whoever may act as the owner is
--   whom this policy admits, by the server's own test of both.
CREATE POLICY {policy} ON {table} AS PERMISSIVE FOR ALL TO {owner} USING (true) WITH CHECK (true);

-- name: enable
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; nothing is read or rewritten.
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- name: alter_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; reading and writing change at the same moment.
ALTER POLICY {policy} ON {table} TO {roles} USING ({expression}) WITH CHECK ({expression});

-- name: disable
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; everybody sees every row again.
ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- name: disable_only
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; everybody sees every row again. It was forced, to no effect,
--   before.
ALTER TABLE {table} DISABLE ROW LEVEL SECURITY;

-- name: no_force
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; the others' policies hold everybody but the owner, as they did.
ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;

-- name: drop_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds.
DROP POLICY {policy} ON {table};

-- name: called
-- locks: ACCESS SHARE on the catalog. Whether a policy still calls one of the functions that count: another migration's.
SELECT EXISTS (
  SELECT FROM pg_depend
  WHERE classid = 'pg_policy'::regclass AND refclassid = 'pg_proc'::regclass AND refobjid IN (
    SELECT oid FROM pg_proc
    WHERE pronamespace = to_regnamespace('tenantry_rls') AND proname IN ('unscoped', 'unseen'))
);

-- name: unseeing
-- locks: ACCESS SHARE on the catalog. Whether a policy shows sessions without a tenant nothing, and counts them. Not by
-- to_regprocedure, which asks for the right to use the schema: the exporter needs none.
SELECT EXISTS (
  SELECT FROM pg_depend
  WHERE classid = 'pg_policy'::regclass AND refclassid = 'pg_proc'::regclass AND refobjid = (
    SELECT oid FROM pg_proc WHERE pronamespace = to_regnamespace('tenantry_rls') AND proname = 'unseen')
);

-- name: drop_function
-- locks: none that anybody waits for; refused while a policy still calls it. The second came later than the first.
DO $tenantry$
DECLARE
  one regprocedure;
BEGIN
  DROP FUNCTION IF EXISTS tenantry_rls.unseen(name);
  DROP FUNCTION tenantry_rls.unscoped(name);
  FOR one IN SELECT oid FROM pg_proc WHERE pronamespace = 'tenantry_rls'::regnamespace AND proname ~ '^of_[0-9]+$' LOOP
    EXECUTE format('DROP FUNCTION %s', one);
  END LOOP;
END
$tenantry$;

-- name: drop_schema
-- locks: none that anybody waits for; refused while anything is in it.
DROP SCHEMA tenantry_rls;

-- name: unscoped_accesses
-- locks: ACCESS SHARE on the catalog. `counted_by` changes when the count may have been forgotten: another
--   function, a restarted server, reset statistics, and a crash, which leaves the postmaster standing and this
--   database without statistics, but gives those of the background writer a new beginning.
SELECT coalesce(pg_stat_get_function_calls(p.oid), 0) AS calls,
       clock_timestamp() AS now,
       concat_ws(' ', p.oid, pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time(),
                 pg_stat_get_db_stat_reset_time(d.oid)) AS counted_by,
       coalesce('track_functions=pl' = ANY (p.proconfig), false)
         OR current_setting('track_functions') IN ('pl', 'all') AS counting
FROM pg_proc AS p, pg_database AS d
WHERE p.pronamespace = to_regnamespace('tenantry_rls') AND p.proname = 'unscoped' AND d.datname = current_database();

-- name: unscoped_roles
-- locks: ACCESS SHARE on the catalog. Who was counted, and how often; the last are those without a function of their
--   own.
SELECT CASE WHEN own.role = 0 THEN 'roles made since' ELSE coalesce(r.rolname::text, 'a role that is gone') END AS role,
       own.role::bigint AS oid, pg_stat_get_function_calls(own.function) AS calls
FROM (
  SELECT p.oid AS function, substr(p.proname, 4)::oid AS role FROM pg_proc AS p
  WHERE p.pronamespace = to_regnamespace('tenantry_rls') AND p.proname ~ '^of_[0-9]+$'
) AS own LEFT JOIN pg_roles AS r ON r.oid = own.role
WHERE pg_stat_get_function_calls(own.function) > 0 ORDER BY own.role = 0, 1;

-- name: applications
-- locks: ACCESS SHARE on the catalog. Whom to ask: sessions of these roles, or of roles that may become them, that ran
--   something lately (without pg_monitor nobody's times are shown: then all of them).
SELECT counted.role::bigint AS oid, coalesce(nullif(a.application_name, ''), 'no application name') AS application
FROM unnest(%(roles)s::oid[]) AS counted (role)
JOIN pg_stat_activity AS a
  ON a.usesysid = counted.role
  OR (pg_has_role(a.usesysid, counted.role, 'MEMBER')
      AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = a.usesysid AND r.rolsuper))
WHERE a.datname = current_database() AND a.backend_type = 'client backend'
  AND a.application_name NOT LIKE 'tenantry %%'
  AND coalesce(a.state_change >= %(since)s OR a.state = 'active', true)
GROUP BY 1, 2 ORDER BY 1, count(*) DESC, 2;

-- name: unreported
-- locks: ACCESS SHARE on system views. Transactions that have been at one of the tables and are older than the quiet:
--   a session reports its counts when its transaction ends.
SELECT format('pid %%s, %%s as %%s, in a transaction since %%s', a.pid,
              coalesce(nullif(a.application_name, ''), 'no application name'), a.usename,
              to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS'))
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid() AND a.application_name NOT LIKE 'tenantry %%' AND a.xact_start <= %(since)s
  AND EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.relation = ANY (%(tables)s::oid[]) AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  )
ORDER BY a.xact_start;

-- name: bridged_roles
-- locks: ACCESS SHARE on the catalog. Roles whose sessions begin with a tenant: they are unscoped code that
--   doesn't count as such.
SELECT coalesce(r.rolname::text, 'every role') AS role, substr(setting.text, length(%(setting)s) + 2) AS tenant
FROM pg_db_role_setting AS s
CROSS JOIN LATERAL unnest(s.setconfig) AS setting (text)
LEFT JOIN pg_roles AS r ON r.oid = s.setrole
LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
WHERE starts_with(setting.text, %(setting)s || '=') AND (s.setdatabase = 0 OR d.datname = current_database())
ORDER BY 1, 2;

-- name: missing_roles
-- locks: ACCESS SHARE on the catalog. Named roles that aren't there.
SELECT named.role FROM unnest(%(roles)s::text[]) AS named (role)
WHERE named.role <> 'public' AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname = named.role) ORDER BY 1;

-- name: roles_not_held
-- locks: ACCESS SHARE on the catalog. Roles that log in and may use the table, whom policies hold, but not one for
--   these roles: by the test that the server makes of a policy's roles.
SELECT r.rolname::text FROM pg_roles AS r
WHERE r.rolcanlogin AND NOT r.rolsuper AND NOT r.rolbypassrls
  AND has_table_privilege(r.oid, %(table)s::oid, 'SELECT, INSERT, UPDATE, DELETE')
  AND NOT EXISTS (
    SELECT FROM unnest(%(roles)s::text[]) AS named (role) LEFT JOIN pg_roles AS held ON held.rolname = named.role
    WHERE named.role = 'public' OR pg_has_role(r.oid, held.oid, 'USAGE')
  )
ORDER BY 1;

-- name: truncating_roles
-- locks: ACCESS SHARE on the catalog. Who but its owner may TRUNCATE the table.
SELECT CASE WHEN a.grantee = 0 THEN 'everybody' ELSE pg_get_userbyid(a.grantee)::text END
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.oid = %(table)s::oid AND a.privilege_type = 'TRUNCATE' AND a.grantee <> c.relowner ORDER BY 1;
