-- Batches that copy rows of a shared table into their tenants' tables, and the comparison of both.

-- name: copy
-- locks: ROW EXCLUSIVE on the ledger and on the tables of at most 32 tenants, ROW SHARE on {table}; the rows of the range FOR
-- SHARE for about 100 ms. FOR KEY SHARE would not do: it doesn't wait for an update that takes the row to another tenant,
-- and the copy made of what it was stayed where the row had left.
WITH claimed AS MATERIALIZED (
    SELECT b.id FROM tenantry.batches AS b
    WHERE b.id = %(batch)s AND b.state = 'pending' AND EXISTS (
        SELECT FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
        WHERE j.id = b.job_id AND j.state = 'running' AND m.state = 'running')
    FOR UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT t.{tenant} AS tenant, t AS whole FROM {table} AS t WHERE {range} AND {unfilled} FOR SHARE
), copied AS MATERIALIZED (
    SELECT each.rows, {function}(each.tenant, each.whole) AS written
    FROM (SELECT tenant, count(*) AS rows, array_agg(whole) AS whole FROM held GROUP BY tenant) AS each
), counted AS (
    SELECT coalesce(sum(rows), 0)::bigint AS rows, sum(written) AS written FROM copied
)
UPDATE tenantry.batches AS b
SET state = 'done', rows = counted.rows, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000
FROM claimed, counted WHERE b.id = claimed.id
RETURNING b.rows, b.duration_ms, NULL::bigint AS rest;

-- name: copy_unlocked
-- locks: ROW EXCLUSIVE and ROW SHARE as `copy`, but it waits for no row of {table}: locked ones are skipped, and what was left
-- becomes a new batch over the same range.
WITH claimed AS MATERIALIZED (
    SELECT b.id, b.job_id, b.by, b.lower, b.upper, b.stripe, b.attempts, b.waiting_since FROM tenantry.batches AS b
    WHERE b.id = %(batch)s AND b.state = 'pending' AND EXISTS (
        SELECT FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
        WHERE j.id = b.job_id AND j.state = 'running' AND m.state = 'running')
    FOR UPDATE SKIP LOCKED
), held AS MATERIALIZED (
    SELECT t.{tenant} AS tenant, t AS whole FROM {table} AS t
    WHERE {range} AND {unfilled} FOR SHARE SKIP LOCKED
), copied AS MATERIALIZED (
    SELECT each.rows, {function}(each.tenant, each.whole) AS written
    FROM (SELECT tenant, count(*) AS rows, array_agg(whole) AS whole FROM held GROUP BY tenant) AS each
), counted AS (
    SELECT coalesce(sum(rows), 0)::bigint AS rows, sum(written) AS written,
           (SELECT count(*) FROM {table} AS t WHERE {range} AND {unfilled}) AS needed
    FROM copied
), rest AS (
    INSERT INTO tenantry.batches (job_id, origin, by, lower, upper, stripe, attempts, waiting_since, not_before)
    SELECT job_id, 'rest', by, lower, upper, stripe, attempts + 1, coalesce(waiting_since, clock_timestamp()),
           clock_timestamp() + make_interval(secs => least(30, 0.5 * power(2, least(attempts, 6))))
    FROM claimed, counted WHERE counted.needed > counted.rows
    RETURNING id
)
UPDATE tenantry.batches AS b
SET state = 'done', rows = counted.rows, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000
FROM claimed, counted WHERE b.id = claimed.id
RETURNING b.rows, b.duration_ms, (SELECT id FROM rest) AS rest;

-- name: snapshot
-- locks: none. What other sessions see by it is what this one sees, as long as its transaction lasts.
SELECT pg_export_snapshot()

-- name: take_snapshot
-- locks: none.
SET TRANSACTION SNAPSHOT {snapshot}

-- name: begin
-- locks: none.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: sums
-- locks: ACCESS SHARE on {table}; a read of all of it. Per tenant the rows, and a sum of their hashes that knows no order.
SELECT t.{tenant}, count(*), coalesce(sum(hashtextextended(ROW({columns})::text COLLATE "C", 0)::numeric), 0)
FROM {table} AS t GROUP BY 1

-- name: sum
-- locks: ACCESS SHARE on {table}, a tenant's; a read of all of it.
SELECT count(*), coalesce(sum(hashtextextended(ROW({columns})::text COLLATE "C", 0)::numeric), 0) FROM {table} AS t
