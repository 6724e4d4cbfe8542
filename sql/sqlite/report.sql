-- What a report tells of a file and of the library that reads it.

-- name: settings
-- locks: none; a read.
SELECT 'journal_mode' AS name, journal_mode AS value, 'file' AS source FROM pragma_journal_mode
UNION ALL SELECT 'page_size', page_size, 'file' FROM pragma_page_size
UNION ALL SELECT 'page_count', page_count, 'file' FROM pragma_page_count
UNION ALL SELECT 'freelist_count', freelist_count, 'file' FROM pragma_freelist_count
UNION ALL SELECT 'auto_vacuum', auto_vacuum, 'file' FROM pragma_auto_vacuum
UNION ALL SELECT 'encoding', encoding, 'file' FROM pragma_encoding
UNION ALL SELECT 'synchronous', synchronous, 'session' FROM pragma_synchronous
UNION ALL SELECT 'busy_timeout', timeout, 'session' FROM pragma_busy_timeout
UNION ALL SELECT 'sqlite_version', sqlite_version(), 'library';
