-- A table with the tenants that its rows will have, as a common table expression of other statements.

-- name: table
-- locks: none of its own: a part of a read. Not kept, so that whoever joins it does so along the table's own indexes.
{called} AS NOT MATERIALIZED (SELECT {place} AS {placed}, t.*, {value} AS {tenant} FROM {rows} AS t)

-- name: tree
-- locks: none of its own: a part of a read. A table that is its own parent, walked from its topmost rows down. A row in a
--   circle, or below one, is not reached and has no tenant. Kept: else each row that asks would walk it again.
{called} AS MATERIALIZED (
    WITH RECURSIVE based AS MATERIALIZED (
        SELECT {place} AS place, {named}, {value} AS tenant FROM {rows} AS t
    ), walked (place, tenant, {keys}) AS (
        SELECT b.place, b.tenant, {theirs} FROM based AS b
        WHERE NOT EXISTS (SELECT 1 FROM based AS r WHERE {above} AND r.place <> b.place)
        UNION ALL
        SELECT b.place, walked.tenant, {theirs} FROM walked JOIN based AS b ON {below} AND b.place <> walked.place
    )
    SELECT {place} AS {placed}, t.*, walked.tenant AS {tenant}
    FROM {rows} AS t LEFT JOIN walked ON walked.place = {place}
)

-- name: told
-- locks: none of its own: a part of a read. What another table tells of a row.
(SELECT {told} FROM {other} AS {as_} WHERE {pairs} LIMIT 1)
