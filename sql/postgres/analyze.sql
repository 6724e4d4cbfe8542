-- name: deferrable
-- locks: none on tables; it reads what is in progress. The autovacuum workers that ANALYZE a table which has statistics,
-- made or relied on since %(since)s, less than an hour ago.
SELECT p.pid
FROM pg_stat_progress_analyze AS p
JOIN pg_stat_activity AS a ON a.pid = p.pid AND a.backend_type = 'autovacuum worker'
JOIN pg_class AS c ON c.oid = p.relid AND c.reltuples > 0
LEFT JOIN pg_stat_all_tables AS s ON s.relid = p.relid
WHERE p.datname = current_database() AND p.relid = %(table)s::regclass
  AND greatest(s.last_analyze, s.last_autoanalyze, %(since)s) > clock_timestamp() - interval '1 hour';

-- name: impatient
-- locks: none; for the transaction that runs, where the role may. An autovacuum gives way once deadlock_timeout has
-- passed, 1 s by default.
SELECT set_config('deadlock_timeout', '20ms', true) FROM pg_roles WHERE rolname = current_user AND rolsuper;
