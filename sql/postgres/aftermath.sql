-- What `verify` asks about the time since the migration began: what the server counted and logged, what the ledger says
-- was filled, and what is left behind. Nothing here writes.

-- name: counters
-- locks: ACCESS SHARE on system views. What the server has counted in this database; `reset` changes whenever counts
--   were forgotten, by hand or in a crash.
SELECT clock_timestamp()::text AS at, format('%s %s', d.stats_reset, b.stats_reset) AS reset,
       d.deadlocks, d.xact_rollback AS rollbacks, d.xact_commit AS commits
FROM pg_stat_database AS d, pg_stat_bgwriter AS b WHERE d.datname = current_database();

-- name: deleted
-- locks: ACCESS SHARE on the catalog. Rows of these tables that were ever deleted, rolled back or not.
SELECT coalesce(sum(pg_stat_get_tuples_deleted(oid)), 0)::bigint FROM unnest(%(tables)s::oid[]) AS given (oid);

-- name: filled
-- locks: ACCESS SHARE on the ledger. Rows that the batches of a migration gave their tenant, by table.
SELECT j.table_name, coalesce(sum(b.rows), 0)::bigint
FROM tenantry.jobs AS j LEFT JOIN tenantry.batches AS b ON b.job_id = j.id
WHERE j.migration_id = %(migration)s AND j.kind = 'fill' GROUP BY 1;

-- name: parts
-- locks: ACCESS SHARE on the ledger. The tables and partitions that the batches filled, and whether each is there.
SELECT table_name, part, to_regclass(part) IS NOT NULL AS there FROM tenantry.jobs
WHERE migration_id = %(migration)s AND kind = 'fill';

-- name: log
-- locks: none. The log that the server writes now, and its size in bytes; NULL where it collects none.
SELECT pg_current_logfile('stderr') AS file, (pg_stat_file(pg_current_logfile('stderr'))).size AS size,
       current_setting('lc_messages') AS language;

-- name: logs_since
-- locks: none. The files of the log written to since then, the oldest first; their times are whole seconds.
SELECT name, size FROM pg_ls_logdir() WHERE modification >= date_trunc('second', %(since)s::timestamptz) AND name !~ '\.(csv|json)$'
ORDER BY modification, name;

-- name: log_part
-- locks: none. A part of a file of the log; as bytes, for a log may hold several encodings.
SELECT pg_read_binary_file(%(file)s, %(begin)s, %(length)s, true);

-- name: bypassing_roles
-- locks: ACCESS SHARE on the catalog. Roles that log in and that no policy holds.
SELECT format('%s (%s)', rolname, CASE WHEN rolsuper THEN 'superuser' ELSE 'BYPASSRLS' END) FROM pg_roles
WHERE rolcanlogin AND (rolsuper OR rolbypassrls) ORDER BY 1;

-- name: under_policy
-- locks: ACCESS SHARE on the catalog. Those of the tables whose policies hold this very session.
SELECT given.oid::bigint FROM unnest(%(tables)s::oid[]) AS given (oid) WHERE row_security_active(given.oid);

-- name: leftovers
-- locks: ACCESS SHARE on the catalog. What a migration makes for a while only, and what nothing uses any more; what
--   only has the ending of such a name is looked for at its own tables: another migration may be at work beside.
SELECT format('constraint %%s of %%s', c.conname, c.conrelid::regclass) FROM pg_constraint AS c
WHERE c.conrelid <> 0 AND (c.conname = ANY (%(names)s::text[])
  OR c.conname ~ '_tenantry_(new|old|not_null)$' AND c.conrelid = ANY (%(tables)s::oid[]))
UNION ALL
SELECT format('index %%s of %%s', i.indexrelid::regclass, i.indrelid::regclass)
FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid
WHERE (x.relname = ANY (%(names)s::text[])
  OR x.relname ~ '_tenantry_(new|old)$' AND i.indrelid = ANY (%(tables)s::oid[]))
  -- One that foreign keys from outside the plan lean on is not left over: it keeps the old key unique for them.
  AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = x.oid AND (c.conname = x.relname OR c.contype = 'f'))
UNION ALL
SELECT format('function %%s', p.oid::regprocedure) FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('tenantry_guard')
  AND NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgfoid = p.oid)
UNION ALL
SELECT format('function %%s', p.oid::regprocedure) FROM pg_proc AS p
WHERE p.pronamespace = to_regnamespace('tenantry_rls')
  AND NOT EXISTS (
    SELECT FROM pg_depend AS d JOIN pg_proc AS called ON called.oid = d.refobjid
    WHERE d.classid = 'pg_policy'::regclass AND d.refclassid = 'pg_proc'::regclass
      AND called.pronamespace = p.pronamespace
  )
UNION ALL
SELECT format('sequence %%s', s.oid::regclass) FROM pg_class AS s
WHERE s.relkind = 'S' AND s.relnamespace = to_regnamespace('tenantry_guard')
  AND NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = s.relnamespace AND p.proname = s.relname)
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype = 'i')
UNION ALL
SELECT format('table %%s', r.oid::regclass) FROM pg_class AS r
WHERE r.relkind = 'r' AND r.relnamespace = to_regnamespace('tenantry_guard')
  AND NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = r.relnamespace)
UNION ALL
SELECT format('empty schema %%s', n.nspname) FROM pg_namespace AS n
WHERE n.nspname IN ('tenantry_guard', 'tenantry_rls')
  AND NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = n.oid)
  AND NOT EXISTS (SELECT FROM pg_class AS r WHERE r.relnamespace = n.oid)
ORDER BY 1;
