-- The composite key, in the order of `control/stages/keys.py`: at no moment is a row without a key, or an
-- edge without a foreign key.

-- name: add_foreign_key
-- locks: SHARE ROW EXCLUSIVE on {table} and on the table it points to, for milliseconds: writers wait, readers don't.
-- NOT VALID, so no row is read; what is written from now on is checked. Without {validity} only for a partitioned table:
-- the server finds each partition's, validated before, takes it as a part, and reads no row either.
ALTER TABLE {table} ADD CONSTRAINT {name}
  FOREIGN KEY ({columns}) REFERENCES {target} ({target_columns}) {match}
  ON UPDATE {on_update} ON DELETE {on_delete} {deferrable} {validity}

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

-- name: leaning
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Whatever would keep the primary key of {tables} from
-- being dropped, foreign keys apart (those lean on its index): views and functions that GROUP BY it and select more,
-- rules that name it in ON CONFLICT. A key that is the new one already is none that is dropped.
-- Without `{views}`, which are defined anew in the swap.
SELECT DISTINCT coalesce(
  pg_describe_object('pg_class'::regclass, r.ev_class, 0), pg_describe_object(d.classid, d.objid, d.objsubid)
)
FROM pg_constraint AS k
JOIN pg_depend AS d ON d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid AND d.deptype = 'n'
LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
WHERE coalesce(r.ev_class, 0) <> ALL ({views}::oid[])
  AND k.contype = 'p' AND k.conrelid = ANY ({tables}::oid[])
  AND {columns}::text[] <> ARRAY(
    SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS key (number, place)
    JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = key.number ORDER BY key.place
  )
ORDER BY 1

-- name: short_column_lists
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Publications of updates or deletes whose column list
-- (PostgreSQL 15) lacks a column of the new key, where the key is the replica identity: from the swap on the server
-- would refuse every UPDATE and DELETE of {tables}.
SELECT format('%s (columns of %s)', p.pubname, r.prrelid::regclass)
FROM pg_publication_rel AS r
JOIN pg_publication AS p ON p.oid = r.prpubid
WHERE r.prrelid = ANY ({tables}::oid[]) AND (p.pubupdate OR p.pubdelete)
  AND nullif(to_jsonb(r) -> 'prattrs', 'null') IS NOT NULL
  AND EXISTS (
    SELECT FROM unnest({columns}::text[]) AS wanted (name)
    WHERE wanted.name NOT IN (
      SELECT a.attname FROM jsonb_array_elements_text(nullif(to_jsonb(r) -> 'prattrs', 'null')) AS listed (number)
      JOIN pg_attribute AS a ON a.attrelid = r.prrelid AND a.attnum = listed.number::int2
    )
  )
  AND EXISTS (
    SELECT FROM pg_class AS c LEFT JOIN pg_index AS i ON i.indrelid = c.oid AND i.indisprimary
    WHERE c.oid = ANY ({tables}::oid[]) AND (c.relreplident = 'd' OR (c.relreplident = 'i' AND i.indisreplident))
  )
ORDER BY 1
