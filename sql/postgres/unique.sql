-- A unique constraint or index that takes the tenant in, in the order of `control/keys/unique.py`: its successor is
-- built before, so that at no moment a value may stand in one tenant twice.

-- name: swap_constraint
-- locks: ACCESS EXCLUSIVE on {table} for milliseconds: the index is built already, and no row is read. Foreign keys that
-- lean on the index follow it.
ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} UNIQUE USING INDEX {index} {deferrable}

-- name: drop_index
-- locks: ACCESS EXCLUSIVE on the table for milliseconds, in one transaction with the next: CONCURRENTLY would leave a
-- moment in which nothing has the name, and can't drop a replica identity.
DROP INDEX {name}

-- name: rename_index
-- locks: SHARE UPDATE EXCLUSIVE on the index: nobody reads or writes slower for it.
ALTER INDEX {name} RENAME TO {to}

-- name: set_statistics
-- locks: SHARE UPDATE EXCLUSIVE on the index, in the transaction of the swap, which loses what ANALYZE was told.
ALTER INDEX {name} ALTER COLUMN {number} SET STATISTICS {target}

-- name: shared_value
-- locks: ACCESS SHARE on {table}; it reads every row that the index holds. One value that stands in two tenants, if
-- there is one.
SELECT concat_ws(', ', {values}), min({tenant}), max({tenant})
FROM {table}
WHERE {held}
GROUP BY {keys}
HAVING count(*) > 1
LIMIT 1

-- name: leaning
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Whatever would keep the unique index {name} of the
-- table {oid} from being dropped, foreign keys apart: rules and functions that name its constraint in ON CONFLICT. One
-- that holds {tenant} already is none that is dropped.
SELECT DISTINCT coalesce(
  (
    SELECT pg_describe_object('pg_class'::regclass, r.ev_class, 0) FROM pg_rewrite AS r
    WHERE d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid AND r.rulename = '_RETURN'
  ),
  pg_describe_object(d.classid, d.objid, d.objsubid)
)
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_constraint AS k ON k.conindid = c.oid AND k.conrelid = i.indrelid AND k.contype = 'u'
JOIN pg_depend AS d ON d.deptype = 'n' AND (
  (d.refclassid = 'pg_constraint'::regclass AND d.refobjid = k.oid)
  OR (d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid)
)
WHERE i.indrelid = {oid} AND c.relname = {name}
  AND NOT EXISTS (
    SELECT FROM pg_constraint AS f
    WHERE d.classid = 'pg_constraint'::regclass AND f.oid = d.objid AND f.contype = 'f'
  )
  AND NOT EXISTS (
    SELECT FROM pg_attribute AS a
    WHERE a.attrelid = i.indrelid AND a.attname = {tenant} AND a.attnum = ANY (i.indkey::int2[])
  )
ORDER BY 1

-- name: lists_without
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Publications of updates or deletes whose column list
-- (PostgreSQL 15) for the table {oid} lacks {column}, which its replica identity will hold: from the swap on the server
-- would refuse every UPDATE and DELETE.
SELECT format('%s (columns of %s)', p.pubname, r.prrelid::regclass)
FROM pg_publication_rel AS r
JOIN pg_publication AS p ON p.oid = r.prpubid
WHERE r.prrelid = {oid} AND (p.pubupdate OR p.pubdelete) AND nullif(to_jsonb(r) -> 'prattrs', 'null') IS NOT NULL
  AND {column} NOT IN (
    SELECT a.attname FROM jsonb_array_elements_text(nullif(to_jsonb(r) -> 'prattrs', 'null')) AS listed (number)
    JOIN pg_attribute AS a ON a.attrelid = r.prrelid AND a.attnum = listed.number::int2
  )
ORDER BY 1
