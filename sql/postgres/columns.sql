-- name: add_column
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: only the catalog is changed, with a constant default too
-- (since PostgreSQL 11). One table per transaction: altering two in one deadlocks live writers. Of a partitioned
-- table the partitions are altered with it, from the parent down, as writers lock them.
ALTER TABLE {table} ADD COLUMN {column} text{not_null}{default}

-- name: set_default
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds; it holds for rows written from now on, and reads none.
-- Where {table} is partitioned, on its partitions too, whose default becomes the same.
ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {default}

-- name: drop_default
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds; rows that are there keep their value.
-- Where {table} is partitioned, on its partitions too.
ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT

-- name: drop_column
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: the column is marked as dropped, no row is touched. Not
-- before its keys are gone: dropping it under a composite key takes the child's key along without a word.
-- Where {table} is partitioned, on its partitions too.
ALTER TABLE {table} DROP COLUMN {column}
