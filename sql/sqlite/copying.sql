-- What is asked of a file before and after it is copied.

-- name: size
-- locks: none; a read of its header.
SELECT (SELECT page_count FROM pragma_page_count) * (SELECT page_size FROM pragma_page_size) AS bytes;

-- name: page_size
-- locks: none; a read of its header.
PRAGMA page_size;

-- name: journal_mode
-- locks: none; a read of its header.
PRAGMA journal_mode;

-- name: without_wal
-- locks: the file's write lock and every reader, for a moment; SQLite refuses it while another process has the file open.
PRAGMA journal_mode = DELETE;

-- name: look
-- locks: none; a read, with which a snapshot begins.
SELECT count(*) FROM sqlite_schema;
