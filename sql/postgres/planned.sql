-- A table with the tenants that its rows will have, as a part of other statements: for a FROM.

-- name: table
-- locks: none of its own: a table with its rows' tenants and places, inside another statement. Joined, so that what a
--   tenant is read from is hashed where it is large, and not looked up row by row.
(SELECT t.*, {value} AS {tenant}, {kept} AS "tenantry: tenant kept", concat_ws(' ', t.tableoid::regclass, t.ctid) AS {place} FROM {table} AS t {joined})

-- name: tree
-- locks: none of its own: a table that is its own parent, walked from its topmost rows down. A row in a circle, or below
--   one, is not reached and has no tenant. One that has its tenant already keeps it, and those below it have that.
(WITH RECURSIVE based AS {based}, walked AS (
    SELECT b.{place} AS place, b.{tenant} AS tenant, {keys}
    FROM based AS b WHERE b."tenantry: tenant kept" IS NOT NULL
       OR NOT EXISTS (SELECT FROM based AS r WHERE {above} AND r.{place} <> b.{place})
    UNION ALL
    SELECT b.{place}, walked.tenant, {keys} FROM walked JOIN based AS b ON {below} AND b.{place} <> walked.place
    WHERE b."tenantry: tenant kept" IS NULL
)
SELECT t.*, walked.tenant AS {tenant}, concat_ws(' ', t.tableoid::regclass, t.ctid) AS {place}
FROM {table} AS t LEFT JOIN walked ON walked.place = concat_ws(' ', t.tableoid::regclass, t.ctid))
