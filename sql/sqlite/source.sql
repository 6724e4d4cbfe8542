-- What tells a row its tenant, in parts of statements: of a batch's UPDATE, of a trigger of the write guard, of a count. The row
-- in question is called t.

-- name: looked_up
-- locks: none; a read of {table}, in a statement of others.
(SELECT {value} FROM {table} AS r WHERE {matches} AND {known} LIMIT 1)

-- name: alone
-- locks: none; a read of {table}, in a statement of others.
NOT EXISTS (SELECT 1 FROM {table} AS r WHERE {matches})

-- name: there
-- locks: none; a read of {table}, in a statement of others.
EXISTS (SELECT 1 FROM {table} AS r WHERE {matches} AND {unfilled})

-- name: known
-- locks: none; a read, in a statement of others.
EXISTS (SELECT 1{source} WHERE {resolved})

-- name: of_tree
-- locks: none; a read of {tree}, in a statement of others. From the first row above that is filled; or what otherwise says of the
-- topmost one, which one that points at itself is. UNION ends a walk that goes in a circle, where no row is the topmost.
-- The walk carries what tells a row, and reads the row itself again: so its columns are compared as they are declared,
-- which those of a walk are not.
(WITH RECURSIVE up ({keys}, tenant) AS (
    SELECT {start}, NULL
    UNION
    SELECT {next}, CASE WHEN {filled} THEN {value} END
    FROM up JOIN {tree} AS b ON {b_is_up} JOIN {tree} AS r ON {above} WHERE up.tenant IS NULL)
SELECT CASE WHEN up.tenant IS NOT NULL THEN up.tenant ELSE (SELECT {otherwise} FROM {tree} AS t WHERE {t_is_up}) END
FROM up WHERE up.tenant IS NOT NULL
    OR NOT EXISTS (SELECT 1 FROM {tree} AS b JOIN {tree} AS r ON {above} WHERE {b_is_up}) LIMIT 1)
