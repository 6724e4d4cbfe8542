-- The lines of a `tenantry plan --sql` script that are not a stage's own statements.

-- name: session
-- locks: none. What every connection of a run has set, as far as it changes what the statements do.
SET default_transaction_isolation = 'read committed';
SET row_security = off;

-- name: announced
-- locks: SHARE UPDATE EXCLUSIVE on {tables}; cancels an autovacuum at work there, and makes no reader or writer
-- wait. The strong lock comes after it, and gives up after half a second.
SET LOCAL lock_timeout = '3s';
LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE;
SET LOCAL lock_timeout = '500ms';

-- name: fill
-- locks: ROW EXCLUSIVE on {table}, ACCESS SHARE on what {source} reads; and every row that it changes is locked
-- until it has changed the last of them: a script is for a copy. A run does this in batches of a tenth of a
-- second.
UPDATE {table} AS t SET {tenant} = {value} {source} WHERE {unfilled} AND {resolved};

-- name: expect_filled
-- locks: ACCESS SHARE on {table}; a read. The text is no number: so it ends the script, where a run would set
-- the rows aside.
SELECT CASE WHEN count(*) > 0 THEN format('%s rows of %s have no tenant', count(*), {name})::int END AS no_tenant
FROM {table} AS t
WHERE {unfilled};
