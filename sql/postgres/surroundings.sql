-- What stands around the tables, as `check` looks at it: standbys, slots, publications, whoever goes round policies,
-- what the application sends, and what is left of statistics and of room. Nothing here writes.

-- name: standbys
-- locks: ACCESS SHARE on the catalog. Who streams from here; without pg_monitor only the names are seen.
SELECT format('%s (%s)', coalesce(nullif(application_name, ''), 'no name'), coalesce(state, 'hidden'))
FROM pg_stat_replication ORDER BY 1;

-- name: idle_slots
-- locks: ACCESS SHARE on the catalog. Slots that nobody reads from: the WAL of the backfill stays for them.
SELECT format('%s keeps %s of WAL', slot_name,
              coalesce(pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 'none'))
FROM pg_replication_slots WHERE NOT active ORDER BY 1;

-- name: far_snapshots
-- locks: ACCESS SHARE on the catalog. Snapshots that no session here shows by its age: a standby's by
--   hot_standby_feedback, a slot's, one of a session that holds it without a transaction of its own.
SELECT format('slot %%s', slot_name) FROM pg_replication_slots
WHERE xmin IS NOT NULL AND age(xmin) > %(transactions)s
UNION ALL
SELECT format('standby %%s', coalesce(nullif(application_name, ''), 'without a name')) FROM pg_stat_replication
WHERE backend_xmin IS NOT NULL AND age(backend_xmin) > %(transactions)s
ORDER BY 1;

-- name: publications_of_all
-- locks: ACCESS SHARE on the catalog. Publications that take in every table to come.
SELECT pubname::text FROM pg_publication WHERE puballtables ORDER BY 1;

-- name: without_identity
-- locks: ACCESS SHARE on the catalog. Published tables whose rows can't be told apart: the server refuses each UPDATE.
SELECT c.oid::regclass::text FROM pg_class AS c
WHERE c.oid = ANY (%(tables)s::oid[]) AND c.relkind = 'r'
  AND EXISTS (
    SELECT FROM pg_publication AS p CROSS JOIN LATERAL pg_get_publication_tables(p.pubname) AS t
    WHERE p.pubupdate AND t.relid = c.oid
  )
  AND CASE c.relreplident
    WHEN 'f' THEN false
    WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary)
    WHEN 'i' THEN NOT EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident)
    ELSE true
  END
ORDER BY 1;

-- name: whole_rows_logged
-- locks: ACCESS SHARE on the catalog. Tables whose every UPDATE writes the whole row before it into the WAL, too.
SELECT oid::regclass::text FROM pg_class
WHERE oid = ANY (%(tables)s::oid[]) AND relreplident = 'f' AND current_setting('wal_level') = 'logical' ORDER BY 1;

-- name: views_past_policies
-- locks: ACCESS SHARE on the catalog. Views that read a table with the rights of an owner whom no policy holds, and
--   materialized views, which keep every tenant's rows; read by way of other views, too. `security_invoker` is 15's.
WITH RECURSIVE reading (oid) AS (
  SELECT given.oid FROM unnest(%(tables)s::oid[]) AS given (oid)
  UNION
  SELECT r.ev_class
  FROM reading
  JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = reading.oid
    AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite AS r ON r.oid = d.objid
)
SELECT format('%%s %%s of %%s', CASE v.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END,
              v.oid::regclass, o.rolname)
FROM pg_class AS v JOIN pg_roles AS o ON o.oid = v.relowner
WHERE v.relkind IN ('v', 'm') AND v.oid IN (SELECT oid FROM reading)
  AND (v.relkind = 'm' OR (o.rolsuper OR o.rolbypassrls)
       AND NOT EXISTS (SELECT FROM pg_options_to_table(v.reloptions)
                       WHERE option_name = 'security_invoker' AND option_value::boolean))
ORDER BY 1;

-- name: functions_past_policies
-- locks: ACCESS SHARE on the catalog. SECURITY DEFINER functions of an owner whom no policy holds that name a table;
--   the server keeps no list of what a body reads.
SELECT format('%%s of %%s', p.oid::regprocedure, o.rolname)
FROM pg_proc AS p JOIN pg_roles AS o ON o.oid = p.proowner
WHERE p.prosecdef AND (o.rolsuper OR o.rolbypassrls)
  AND p.pronamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'tenantry_guard', 'tenantry_rls')
  AND EXISTS (
    SELECT FROM unnest(%(names)s::text[]) AS named (name)
    WHERE position(lower(named.name) IN lower(coalesce(p.prosrc, '') || coalesce(pg_get_function_sqlbody(p.oid), ''))) > 0
  )
ORDER BY 1;

-- name: indexes_lost_to_policies
-- locks: ACCESS SHARE on the catalog. Indexes whose first column is found by no leakproof operator: a policy must be
--   asked before such an operator, and so the index isn't used by whoever is under one.
SELECT i.indexrelid::regclass::text FROM pg_index AS i JOIN pg_opclass AS c ON c.oid = i.indclass[0]
WHERE i.indrelid = ANY (%(tables)s::oid[]) AND NOT i.indisprimary
  AND NOT EXISTS (
    SELECT FROM pg_amop AS a JOIN pg_operator AS o ON o.oid = a.amopopr JOIN pg_proc AS p ON p.oid = o.oprcode
    WHERE a.amopfamily = c.opcfamily AND a.amoppurpose = 's' AND a.amoplefttype = c.opcintype AND p.proleakproof
  )
ORDER BY 1;

-- name: statements_schema
-- locks: ACCESS SHARE on the catalog. Where pg_stat_statements is; no row where this database hasn't got it.
SELECT n.nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements';

-- name: statements
-- locks: ACCESS SHARE on {statements}, a view of shared memory. What the application sends about one of the tables.
SELECT format('%%s (%%s calls)', left(regexp_replace(s.query, '\s+', ' ', 'g'), 80), s.calls)
FROM {statements} AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND s.query !~ '^/\* tenantry ' AND s.query ~* %(shape)s
  AND EXISTS (SELECT FROM unnest(%(names)s::text[]) AS named (name) WHERE position(named.name IN s.query) > 0)
ORDER BY s.calls DESC, 1;

-- name: stale_statistics
-- locks: ACCESS SHARE on the catalog. Tables that have changed much since they were last analyzed.
SELECT format('%%s (%%s rows changed since)', s.relid::regclass, s.n_mod_since_analyze)
FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
WHERE s.relid = ANY (%(tables)s::oid[]) AND c.reltuples >= 0
  AND s.n_mod_since_analyze > 1000 AND s.n_mod_since_analyze > %(share)s * c.reltuples
ORDER BY 1;

-- name: not_vacuumed
-- locks: ACCESS SHARE on the catalog. Tables that autovacuum leaves alone.
SELECT oid::regclass::text FROM pg_class
WHERE oid = ANY (%(tables)s::oid[]) AND 'autovacuum_enabled=false' = ANY (reloptions) ORDER BY 1;

-- name: wraparound_due
-- locks: ACCESS SHARE on the catalog. Tables near the age at which a VACUUM against wraparound comes, which gives way
--   to no lock.
SELECT format('%%s (%%s of %%s transactions)', oid::regclass, age(relfrozenxid),
              current_setting('autovacuum_freeze_max_age'))
FROM pg_class
WHERE oid = ANY (%(tables)s::oid[]) AND relfrozenxid <> '0'
  AND age(relfrozenxid) > %(share)s * current_setting('autovacuum_freeze_max_age')::bigint
ORDER BY 1;

-- name: clock
-- locks: none. The server's clock, in seconds since 1970.
SELECT extract(epoch FROM clock_timestamp())::float8;

-- name: data_directory
-- locks: none. Where the server keeps its data; hidden from whoever hasn't pg_read_all_settings.
SELECT setting FROM pg_settings WHERE name = 'data_directory';

-- name: backend
-- locks: none. The server process that answers.
SELECT pg_backend_pid();

-- name: wal_settings
-- locks: none. Bytes of WAL between two checkpoints, and how much of it slots may keep: NULL for all.
SELECT pg_size_bytes(current_setting('max_wal_size')) AS max_wal,
       CASE current_setting('max_slot_wal_keep_size') WHEN '-1' THEN NULL
            ELSE pg_size_bytes(current_setting('max_slot_wal_keep_size')) END AS slots_keep,
       EXISTS (SELECT FROM pg_replication_slots) AS slots,
       (SELECT last_failed_wal FROM pg_stat_archiver
        WHERE last_failed_time > coalesce(last_archived_time, '-infinity')) AS unarchived;

-- name: sizes
-- locks: ACCESS SHARE on the tables for an instant. Bytes of a table's heap and of each of its indexes, and of a row.
SELECT c.oid::bigint AS oid, pg_relation_size(c.oid)::bigint AS heap,
       coalesce((SELECT sum(pg_relation_size(i.indexrelid)) FROM pg_index AS i WHERE i.indrelid = c.oid), 0)::bigint
         AS indexes,
       coalesce((SELECT sum(pg_relation_size(i.indexrelid)) FROM pg_index AS i
                 JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam
                 WHERE i.indrelid = c.oid AND m.amname <> 'btree'), 0)::bigint AS inverted,
       (SELECT count(*) FROM pg_index AS i WHERE i.indrelid = c.oid) AS count
FROM pg_class AS c WHERE c.oid = ANY (%(tables)s::oid[]);

-- name: widths
-- locks: ACCESS SHARE on the catalog. What a table's columns take up in a row, in bytes, as ANALYZE found.
SELECT tablename::text AS table_name, schemaname::text AS schema, attname::text AS column_name, avg_width AS width
FROM pg_stats WHERE format('%%I.%%I', schemaname, tablename)::regclass = ANY (%(tables)s::oid[]::regclass[]);

-- name: position
-- locks: none. How much WAL there has ever been, and how large this database is; bytes.
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal,
       pg_database_size(current_database())::bigint AS disk;

-- name: identity
-- locks: none. Which database it is, of which server: the same by whatever address it is reached.
SELECT format('%s/%s', (SELECT system_identifier FROM pg_control_system()),
              (SELECT oid FROM pg_database WHERE datname = current_database()));
