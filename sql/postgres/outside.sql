-- Foreign keys onto a key that changes, from tables that the plan doesn't name (`control/keys/outside.py`).

-- name: look
-- locks: ACCESS SHARE on the system catalogs; nobody waits for it. Those of the named foreign keys that are there, what
-- kind of table each is of, and whether this role may alter that.
SELECT n.nspname::text, c.relname::text, k.conname::text, c.relkind::text, pg_has_role(c.relowner, 'USAGE')
FROM unnest(%(schemas)s::text[], %(tables)s::text[], %(names)s::text[]) AS given (schema, relation, name)
JOIN pg_namespace AS n ON n.nspname = given.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = given.relation
JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'f' AND k.conname = given.name
ORDER BY 1, 2, 3

-- name: add_again
-- locks: SHARE ROW EXCLUSIVE on {table} and on the table it points to, in the transaction of the swap, which has both in
-- ACCESS EXCLUSIVE. NOT VALID, so no row is read: the one dropped a moment ago vouches for every one of them.
ALTER TABLE {table} ADD CONSTRAINT {name} {definition}
