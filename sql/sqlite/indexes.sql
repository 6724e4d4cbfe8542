-- name: create_index
-- locks: the file's write lock while it is built: about 0.5 s for a million narrow rows that are in memory.
CREATE INDEX {index} ON {table} ({columns});

-- name: drop_index
-- locks: the file's write lock while its pages are put on the list of free ones.
DROP INDEX IF EXISTS {index};
