-- The composite key, in the order of `control/stages/keys.py`: at no moment is a row without a key, or an
-- edge without a foreign key.

-- name: add_foreign_key
-- locks: SHARE ROW EXCLUSIVE on {table} and on the table it points to, for milliseconds: writers wait, readers don't.
-- NOT VALID, so no row is read; what is written from now on is checked.
ALTER TABLE {table} ADD CONSTRAINT {name}
  FOREIGN KEY ({columns}) REFERENCES {target} ({target_columns}) {match}
  ON UPDATE {on_update} ON DELETE {on_delete} {deferrable} NOT VALID

-- name: validate
-- locks: SHARE UPDATE EXCLUSIVE on {table}, for a foreign key ROW SHARE on the table it points to: it reads every
-- row and no reader or writer waits for it.
ALTER TABLE {table} VALIDATE CONSTRAINT {name}

-- name: drop_constraint
-- locks: ACCESS EXCLUSIVE on {table}, for a foreign key on the table it points to as well, for milliseconds. Dropped
-- when its successor is validated. IF EXISTS: it may be what an earlier walk the other way left.
ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}

-- name: swap_key
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: the index is built already and its columns are NOT NULL, so
-- no row is read. Foreign keys that lean on the index follow it.
ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {index} {deferrable}

-- name: add_key
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds, as for the swap; for a table that had no key.
ALTER TABLE {table} ADD CONSTRAINT {name} PRIMARY KEY USING INDEX {index} {deferrable}

-- name: key_on_only
-- locks: ACCESS EXCLUSIVE on {table}, a partitioned one, in the transaction of the swap. ON ONLY: no index is built;
-- the key is whole when every partition's is attached.
ALTER TABLE ONLY {table} ADD CONSTRAINT {name} PRIMARY KEY ({columns}){include} {deferrable}

-- name: attach_key
-- locks: ACCESS EXCLUSIVE on the partition's index, in the transaction of the swap, which has its table already. No row
-- is read.
ALTER INDEX {name} ATTACH PARTITION {part}

-- name: comment_on_constraint
-- locks: SHARE UPDATE EXCLUSIVE on {table}: nobody reads or writes slower for it. A swap loses the comment.
COMMENT ON CONSTRAINT {name} ON {table} IS {comment}

-- name: comment_on_index
-- locks: SHARE UPDATE EXCLUSIVE on the index: nobody reads or writes slower for it. A swap loses the comment.
COMMENT ON INDEX {name} IS {comment}

-- name: cluster_on
-- locks: SHARE UPDATE EXCLUSIVE on {table}; only marks the index for a later CLUSTER. A swap loses the mark.
ALTER TABLE {table} CLUSTER ON {name}

-- name: replica_identity
-- locks: ACCESS EXCLUSIVE on {table}, in the transaction of the swap, which holds it already: without it every UPDATE
-- and DELETE of a published table would fail from the swap on.
ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name}

-- name: rename_constraint
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds; no row is read.
ALTER TABLE {table} RENAME CONSTRAINT {name} TO {to}

-- name: check_not_null
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: NOT VALID, so no row is read.
ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({column} IS NOT NULL) NOT VALID

-- name: set_not_null
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: the validated check spares the server the scan.
ALTER TABLE {table} ALTER COLUMN {column} SET NOT NULL

-- name: drop_not_null
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds; no row is read.
ALTER TABLE {table} ALTER COLUMN {column} DROP NOT NULL

-- name: shared_key
-- locks: ACCESS SHARE on {table}; it reads the index of the composite key from end to end. One old key that stands
-- in two tenants, if there is one.
SELECT concat_ws(', ', {key}), min({tenant}), max({tenant})
FROM {table}
GROUP BY {key}
HAVING count(*) > 1
LIMIT 1
