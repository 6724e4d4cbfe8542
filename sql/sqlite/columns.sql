-- name: add_column
-- locks: the file's write lock for a moment, whatever the size of the table: SQLite writes the schema alone, and answers for the
-- rows that are there with the default.
ALTER TABLE {table} ADD COLUMN {column} TEXT{not_null}{default};

-- name: drop_column
-- locks: the file's write lock while the table's rows are written anew without the column (seen: 0.3 s for 100 MB).
ALTER TABLE {table} DROP COLUMN {column};
