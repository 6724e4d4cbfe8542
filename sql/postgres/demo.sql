-- name: create_database
-- locks: nothing that anybody waits for; the server was made for this.
CREATE DATABASE graph;

-- name: wal_position
-- locks: nothing.
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint;

-- name: table_size
-- locks: ACCESS SHARE on the table; a read of file sizes, indexes and TOAST included.
SELECT pg_total_relation_size(%(table)s::regclass)::bigint;
