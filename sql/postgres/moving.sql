-- Batches of rows that a key with the tenant in it is pointed to by: they can leave only after those that point to
-- them, which can come only after them. So they are copied, and removed once nothing points to them any more.

-- name: batch
-- locks: ROW EXCLUSIVE on {table} and the ledger, and what the change locks, which is one of those below: for about 100 ms.
WITH claimed AS MATERIALIZED (
    SELECT b.id{told} FROM tenantry.batches AS b
    WHERE b.id = %(batch)s AND b.state = 'pending' AND EXISTS (
        SELECT FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
        WHERE j.id = b.job_id AND j.state = 'running' AND m.state = 'running')
    FOR UPDATE SKIP LOCKED
), {change}{notes}, counted AS (
    SELECT count(*) AS rows FROM changed
)
UPDATE tenantry.batches AS b
SET state = 'done', rows = counted.rows, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000
FROM claimed, counted WHERE b.id = claimed.id
RETURNING b.rows, b.duration_ms, NULL::bigint AS rest;

-- name: copy
-- locks: ROW EXCLUSIVE on {table}; new rows, which nobody else has, and the rows that they name (FOR KEY SHARE). The rows
-- that are copied are only read: what changes in them meanwhile, `remove` brings along.
changed AS (
    INSERT INTO {table} AS t ({columns}, {tenant}) OVERRIDING SYSTEM VALUE
    SELECT {values}, {value} FROM {table} AS t WHERE {range} AND {unfilled}
    RETURNING {returned} AS key
);

-- name: hold
-- locks: ROW SHARE on {table}, and the rows of the range that nobody else holds until `remove` has ended the transaction: from
-- here on nobody can point to them. It waits for nobody.
SELECT coalesce(array_agg(held.place::text), '{{}}') FROM (
    SELECT t.ctid AS place FROM {table} AS t WHERE {range} AND {unfilled} FOR UPDATE SKIP LOCKED
) AS held;

-- name: remove
-- locks: ROW EXCLUSIVE on {table}, ACCESS SHARE on what points to it; row locks on rows and their copies.
-- In a statement after `hold`, so that it sees who has begun to point to a row before that was held: such a row stays
-- for now, for a foreign key's ON DELETE CASCADE would take that one along. So does one that somebody holds; both are
-- gone for again in the next round. What the application changed in a row since it was copied its copy gets now;
-- compared as text, for not every type can tell what is equal.
free AS MATERIALIZED (
    SELECT t.*, t.ctid AS "tenantry: at" FROM {table} AS t
    WHERE EXISTS (SELECT FROM claimed) AND t.ctid = ANY (%(held)s::text[]::tid[]) AND {unfilled}
), {renewed}changed AS (
    DELETE FROM {table} AS t USING free WHERE t.ctid = free."tenantry: at" RETURNING {returned} AS key
);

-- name: renew
-- locks: ROW EXCLUSIVE on {table}; row locks on the copies that are written.
renewed AS (
    UPDATE {table} AS c SET ({columns}) = ROW({values}) FROM free AS t
    WHERE {same} AND c.{tenant} = {value} AND ROW({copied})::text IS DISTINCT FROM ROW({values})::text
    RETURNING 1
),;

-- name: withdraw
-- locks: ROW EXCLUSIVE on {table}; row locks on copies, and on what a foreign key's ON DELETE takes along: as it did, or would
-- have done, with the rows that they were made of.
changed AS (
    DELETE FROM {table} AS t WHERE {range} AND {unfilled} RETURNING {returned} AS key
);
