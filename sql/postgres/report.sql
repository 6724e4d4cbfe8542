-- What a report tells of the server that a migration is on.

-- name: server
-- locks: none.
SELECT current_setting('server_version') AS version, pg_is_in_recovery() AS standby;

-- name: settings
-- locks: none. What bears on a migration; no setting that may hold a password, as primary_conninfo does.
SELECT name, setting || coalesce(' ' || unit, '') AS value, source FROM pg_settings WHERE name = ANY (ARRAY[
    'archive_mode', 'autovacuum', 'autovacuum_freeze_max_age', 'autovacuum_max_workers', 'autovacuum_naptime',
    'autovacuum_vacuum_cost_delay', 'autovacuum_vacuum_scale_factor', 'checkpoint_completion_target',
    'checkpoint_timeout', 'data_checksums', 'deadlock_timeout', 'default_transaction_isolation',
    'effective_cache_size', 'fsync', 'full_page_writes', 'hot_standby_feedback', 'idle_in_transaction_session_timeout',
    'lc_messages', 'lock_timeout', 'maintenance_work_mem', 'max_connections', 'max_locks_per_transaction',
    'max_parallel_maintenance_workers', 'max_replication_slots', 'max_slot_wal_keep_size', 'max_standby_streaming_delay',
    'max_wal_senders', 'max_wal_size', 'max_worker_processes', 'row_security', 'server_encoding', 'server_version',
    'session_replication_role', 'shared_buffers', 'statement_timeout', 'synchronous_commit', 'temp_file_limit',
    'TimeZone', 'track_counts', 'track_functions', 'transaction_timeout', 'wal_compression', 'wal_level',
    'wal_keep_size', 'work_mem'
]) ORDER BY name;
