-- name: session
-- locks: nothing.
-- 0.8 of the server's deadlock_timeout: with lock_timeout alone a batch that had run 0.9 s still let the
-- application be the deadlock's victim (design, section 2). And the write guard's triggers know by a word of ours that
-- a row's first tenant is from a batch: its children's own batches come.
SELECT set_config('statement_timeout',
    ceil(0.8 * extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000)::bigint::text, false),
    set_config('tenantry.filling', 'on', false);

-- name: take_time
-- locks: nothing. For a read that keeps nobody waiting: a range that was too long to update in time may be too long to
-- read in that time.
SELECT set_config('statement_timeout', '60s', true);

-- name: commit_as
-- locks: nothing.
SELECT set_config('synchronous_commit', %(synchronous_commit)s, false);

-- name: hold_triggers
-- locks: nothing. The application's triggers don't fire for this session's updates, but for those that are ALWAYS or
-- REPLICA; nor do foreign keys' own, which have nothing to check in a tenant.
SET session_replication_role = replica;

-- name: let_triggers_run
-- locks: nothing.
RESET session_replication_role;

-- name: is_indexed
-- locks: ACCESS SHARE on the catalog; a read. Whether a row of a table is found by all of these columns through one index.
SELECT EXISTS (
    SELECT FROM pg_index AS i
    WHERE i.indrelid = %(table)s::regclass AND i.indisvalid AND i.indpred IS NULL AND ARRAY(
        SELECT a.attname::text FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS key (attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = key.attnum
        WHERE key.place <= cardinality(%(columns)s::text[]) ORDER BY 1
    ) = ARRAY(SELECT DISTINCT name FROM unnest(%(columns)s::text[]) AS name ORDER BY 1)
);

-- name: look_up
-- locks: nothing. How a batch's rows are joined with what tells their tenant: one by one by its index, or as the planner likes.
-- It takes far more rows for a batch's than there are, and read 300,000 parents for each 4,000 rows: 90 ms instead of 16.
SELECT set_config('enable_hashjoin', %(other_joins)s, false), set_config('enable_mergejoin', %(other_joins)s, false);

-- name: fill
-- locks: ROW EXCLUSIVE on {table} and the ledger, ACCESS SHARE on what the tenant is read from; row locks for about
-- 100 ms. lock_timeout 100 ms and statement_timeout of 0.8 deadlock_timeout: the application never pays.
-- The ledger row's lock is the lease: a second worker skips it, and a batch that is done is not pending. The range
-- ends at the bound of the batch that was claimed, and holds no row where none was.
WITH claimed AS MATERIALIZED (
    SELECT b.id{told} FROM tenantry.batches AS b
    WHERE b.id = %(batch)s AND b.state = 'pending' AND EXISTS (
        SELECT FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
        WHERE j.id = b.job_id AND j.state = 'running'
          AND m.state = CASE j.kind WHEN 'reset' THEN 'rolling back' ELSE 'running' END)
    FOR UPDATE SKIP LOCKED
), filled AS (
    UPDATE {table} AS t SET {tenant} = {value} {source}
    WHERE {range} AND {unfilled} AND {resolved}
    RETURNING {returned} AS key
){noted}, counted AS (
    SELECT count(*) AS rows FROM filled
)
UPDATE tenantry.batches AS b
SET state = 'done', rows = counted.rows, finished_at = clock_timestamp(),
    duration_ms = extract(epoch FROM clock_timestamp() - statement_timestamp()) * 1000
FROM claimed, counted WHERE b.id = claimed.id
RETURNING b.rows, b.duration_ms, NULL::bigint AS rest;

-- name: fill_unlocked
-- locks: ROW EXCLUSIVE on {table} and the ledger, ROW SHARE on {table}, ACCESS SHARE on what the tenant is read from;
-- it waits for no row: locked ones are skipped.
-- What was left becomes a new batch over the same range, in the same statement; it waits longer each time, for a row
-- that is held for an hour would else be a new batch every second.
WITH claimed AS MATERIALIZED (
    SELECT b.id, b.job_id, b.by, b.lower, b.upper, b.stripe, b.attempts, b.waiting_since{told}
    FROM tenantry.batches AS b
    WHERE b.id = %(batch)s AND b.state = 'pending' AND EXISTS (
        SELECT FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
        WHERE j.id = b.job_id AND j.state = 'running'
          AND m.state = CASE j.kind WHEN 'reset' THEN 'rolling back' ELSE 'running' END)
    FOR UPDATE SKIP LOCKED
), free AS MATERIALIZED (
    SELECT t.ctid AS "tenantry: at" FROM {table} AS t
    WHERE EXISTS (SELECT FROM claimed) AND {range} AND {unfilled}
    {row_lock} SKIP LOCKED
), filled AS (
    UPDATE {table} AS t SET {tenant} = {value} FROM free {and_source}
    WHERE t.ctid = free."tenantry: at" AND {unfilled} AND {resolved}
    RETURNING {returned} AS key
){noted}, counted AS (
    SELECT (SELECT count(*) FROM filled) AS rows,
           (SELECT count(*) FROM {table} AS t {cross_source}
            WHERE EXISTS (SELECT FROM claimed) AND {range} AND {unfilled} AND {resolved}) AS needed
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

-- name: middle
-- locks: ACCESS SHARE on {table}; a read of one batch's range.
-- How many rows of the range still need their tenant, and the one in their middle: its bound, and what tells it.
WITH keys AS (
    SELECT {bound} AS bound, {identity} AS identity, row_number() OVER (ORDER BY {order}) AS n, count(*) OVER () AS total
    FROM {table} AS t WHERE {range} AND {unfilled}
)
SELECT total, bound, identity FROM keys WHERE n = (total + 1) / 2;

-- name: explain
-- locks: ROW EXCLUSIVE on what {statement} writes and ACCESS SHARE on what it reads, for as long as it is planned; no row.
-- Asked after a batch was refused: whether it would be whatever its rows are.
EXPLAIN {statement};

-- name: lacking
-- locks: ACCESS SHARE on the catalog; a read. Which of these rights on a table this role has not.
SELECT quote_ident(current_user) AS role, ARRAY(
    SELECT wanted.what FROM unnest(%(rights)s::text[]) WITH ORDINALITY AS wanted (what, place)
    JOIN pg_namespace AS n ON n.nspname = %(schema)s
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = %(table)s
    WHERE NOT has_table_privilege(c.oid, wanted.what) ORDER BY wanted.place) AS rights;
