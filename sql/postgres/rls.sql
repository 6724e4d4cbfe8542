-- Row-level security: the three forms of a policy, the function that counts unscoped access, and what
-- tells whether it has been quiet.

-- name: observe
-- locks: none of its own: an expression inside a policy. The test that the session is unscoped stands
--   *inside* the sub-select: a parallel plan computes it before its workers start, also for scoped sessions,
--   and a test outside it counted every parallel query of theirs.
{column} = nullif(current_setting({setting}, true), '') OR (SELECT tenantry_rls.unscoped() WHERE nullif(current_setting({setting}, true), '') IS NULL);

-- name: permissive
-- locks: none of its own: an expression inside a policy. One equality, so that an index on the tenant serves it.
{column} = coalesce(nullif(current_setting({setting}, true), ''), {legacy});

-- name: strict
-- locks: none of its own: an expression inside a policy. A setting that is missing or empty equals nothing.
{column} = nullif(current_setting({setting}, true), '');

-- name: create_schema
-- locks: none that anybody waits for. A schema apart from the ledger's: DROP SCHEMA tenantry CASCADE must not
--   take policies with it and leave tables that show no rows.
CREATE SCHEMA tenantry_rls;

-- name: create_function
-- locks: none that anybody waits for. Owned by a role that may set track_functions, the function is counted
--   in every session at once, whatever the server's own setting; by any other it is counted where that is on.
DO $tenantry$
BEGIN
  CREATE FUNCTION tenantry_rls.unscoped() RETURNS boolean
    LANGUAGE plpgsql VOLATILE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'BEGIN RETURN true; END';
  GRANT EXECUTE ON FUNCTION tenantry_rls.unscoped() TO PUBLIC;
  BEGIN
    ALTER FUNCTION tenantry_rls.unscoped() SECURITY DEFINER SET track_functions = 'pl';
  EXCEPTION WHEN insufficient_privilege THEN
    RAISE NOTICE 'unscoped access is counted only in sessions with track_functions = pl';
  END;
END
$tenantry$;

-- name: create_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; nothing is read or rewritten, and it has no effect yet.
CREATE POLICY {policy} ON {table} FOR ALL TO PUBLIC USING ({expression}) WITH CHECK ({expression});

-- name: enable
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; nothing is read or rewritten.
ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- name: alter_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; reading and writing change at the same moment.
ALTER POLICY {policy} ON {table} USING ({expression}) WITH CHECK ({expression});

-- name: disable
-- locks: ACCESS EXCLUSIVE on the table for milliseconds; everybody sees every row again.
ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY;

-- name: drop_policy
-- locks: ACCESS EXCLUSIVE on the table for milliseconds.
DROP POLICY {policy} ON {table};

-- name: drop_function
-- locks: none that anybody waits for; refused while a policy still calls it.
DROP FUNCTION tenantry_rls.unscoped();

-- name: drop_schema
-- locks: none that anybody waits for; refused while anything is in it.
DROP SCHEMA tenantry_rls;

-- name: unscoped_accesses
-- locks: ACCESS SHARE on the catalog. `counted_by` changes when the count may have been forgotten: another
--   function, a restarted server, reset statistics.
SELECT coalesce(pg_stat_get_function_calls(p.oid), 0) AS calls,
       clock_timestamp() AS now,
       concat_ws(' ', p.oid, pg_postmaster_start_time(), pg_stat_get_db_stat_reset_time(d.oid)) AS counted_by,
       coalesce('track_functions=pl' = ANY (p.proconfig), false)
         OR current_setting('track_functions') IN ('pl', 'all') AS counting
FROM pg_proc AS p, pg_database AS d
WHERE p.oid = to_regprocedure('tenantry_rls.unscoped()') AND d.datname = current_database();

-- name: sessions
-- locks: ACCESS SHARE on the catalog. Whom to ask: client sessions of this database that ran something lately
--   (without pg_monitor nobody's times are shown: then all of them).
SELECT usename::text AS role, application_name AS application, count(*) AS sessions
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
  AND application_name NOT LIKE 'tenantry %%'
  AND coalesce(state_change >= %(since)s OR state = 'active', true)
GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 10;

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
