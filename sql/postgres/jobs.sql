-- name: add
-- locks: ROW EXCLUSIVE on tenantry.jobs.
INSERT INTO tenantry.jobs (migration_id, table_name, part, kind, state, spec, last_key, planned, batch_rows, rows_total,
                           why, finished_at)
VALUES (%(migration)s, %(table)s, %(part)s, %(kind)s, %(state)s, %(spec)s, %(last_key)s, %(last_key)s::text[] IS NULL,
        %(batch_rows)s, %(rows_total)s, %(why)s, CASE WHEN %(state)s = 'complete' THEN clock_timestamp() END)
ON CONFLICT (migration_id, table_name, part, kind) DO NOTHING;

-- name: of_migration
-- locks: ACCESS SHARE on tenantry.jobs; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry.jobs WHERE migration_id = %(migration)s AND kind IN ('fill', 'reset') ORDER BY id;

-- name: of_kind
-- locks: ACCESS SHARE on tenantry.jobs; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry.jobs WHERE migration_id = %(migration)s AND kind = %(kind)s ORDER BY id;

-- name: rows_done
-- locks: ACCESS SHARE on the ledger; a read. What the batches of a job have written in all.
SELECT coalesce(sum(rows), 0)::bigint AS rows FROM tenantry.batches WHERE job_id = %(job)s;

-- name: of_parts
-- locks: ACCESS SHARE on tenantry.jobs; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry.jobs
WHERE migration_id = %(migration)s AND part = ANY (%(parts)s::text[]) AND kind IN ('fill', 'reset') ORDER BY id;

-- name: by_id
-- locks: ACCESS SHARE on tenantry.jobs; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry.jobs WHERE id = %(job)s;

-- name: standing
-- locks: ACCESS SHARE on tenantry.jobs and tenantry.migrations; a read. A job, and what the operator wants of it now.
SELECT j.id, j.table_name, j.part, j.kind, j.state, j.spec, j.last_key, j.planned_to, j.planned, j.batch_rows,
       j.rows_total, j.sweeps, j.started_at, j.reason, m.state AS migration_state, m.settings
FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id WHERE j.id = %(job)s;

-- name: forget
-- locks: ROW EXCLUSIVE on tenantry.jobs, tenantry.batches and tenantry.quarantine.
DELETE FROM tenantry.jobs WHERE migration_id = %(migration)s;

-- name: forget_kind
-- locks: ROW EXCLUSIVE on tenantry.jobs, tenantry.batches and tenantry.quarantine.
DELETE FROM tenantry.jobs WHERE migration_id = %(migration)s AND kind = %(kind)s;

-- name: forget_parts
-- locks: ROW EXCLUSIVE on tenantry.jobs, tenantry.batches and tenantry.quarantine.
DELETE FROM tenantry.jobs
WHERE migration_id = %(migration)s AND table_name = %(table)s AND part <> ALL (%(there)s::text[])
RETURNING part;

-- name: is_there
-- locks: none; to_regclass looks the name up without touching the table.
SELECT to_regclass(%(part)s) IS NOT NULL AS there;

-- name: set_state
-- locks: ROW EXCLUSIVE on tenantry.jobs.
UPDATE tenantry.jobs SET state = %(state)s, reason = %(reason)s,
    finished_at = CASE WHEN %(state)s = 'complete' THEN clock_timestamp() END
WHERE id = %(job)s;

-- name: stop_refused
-- locks: ROW EXCLUSIVE on tenantry.jobs. One that runs, and whose batch ended in an error of this class the last time too.
UPDATE tenantry.jobs AS j SET state = 'stopped', reason = %(reason)s
WHERE j.id = %(job)s AND j.state = 'running' AND EXISTS (
    SELECT FROM tenantry.batches AS b WHERE b.id = %(batch)s AND b.attempts > 0 AND b.sqlstate LIKE '42%%')
RETURNING j.id;

-- name: add_batch
-- locks: ROW EXCLUSIVE on tenantry.batches.
INSERT INTO tenantry.batches (job_id, origin, by, lower, upper, stripe)
VALUES (%(job)s, %(origin)s, %(by)s, %(lower)s, %(upper)s, %(stripe)s) RETURNING id;

-- name: count_sweep
-- locks: ROW EXCLUSIVE on tenantry.jobs.
-- One that could not hand over all at once does not count where it is one of several that get on.
UPDATE tenantry.jobs
SET sweeps = sweeps + CASE WHEN %(whole)s OR %(left)s >= swept_from THEN 1 ELSE 0 END, swept_from = %(left)s
WHERE id = %(job)s;

-- name: advance
-- locks: ROW EXCLUSIVE on tenantry.jobs.
UPDATE tenantry.jobs SET planned_to = %(planned_to)s, planned = %(planned)s, batch_rows = %(batch_rows)s
WHERE id = %(job)s;

-- name: count_held
-- locks: ROW EXCLUSIVE on tenantry.jobs; by the controller alone.
UPDATE tenantry.jobs SET held_seconds = held_seconds + %(seconds)s WHERE id = %(job)s;

-- name: count_settled
-- locks: ROW EXCLUSIVE on tenantry.jobs; by the controller alone.
-- Batches below the first that is pending are settled for good, but by a retry: they are counted once and for all, so
-- that the display reads what is under way and not 400,000 batches, four times a second. None can appear below: a half
-- or a rest is made in the statement that settles the batch it comes from, which is pending until then.
WITH settled AS (
    SELECT max(b.id) AS last, coalesce(sum(b.rows), 0) AS rows, count(*) FILTER (WHERE b.state = 'done') AS done,
           count(*) FILTER (WHERE b.state = 'split') AS split,
           count(*) FILTER (WHERE b.state = 'quarantined') AS quarantined
    FROM tenantry.jobs AS j JOIN tenantry.batches AS b ON b.job_id = j.id AND b.id > j.counted_to
    WHERE j.id = %(job)s AND b.id < coalesce(
        (SELECT min(id) FROM tenantry.batches WHERE job_id = %(job)s AND state = 'pending'), 9223372036854775807)
)
UPDATE tenantry.jobs AS j SET counted_to = settled.last, rows_done = j.rows_done + settled.rows,
    done = j.done + settled.done, split = j.split + settled.split, quarantined = j.quarantined + settled.quarantined
FROM settled WHERE j.id = %(job)s AND settled.last IS NOT NULL;

-- name: ring
-- locks: ROW EXCLUSIVE on tenantry.batches; a batch at work is locked, and skipped.
-- Rung for the first time, or again where nothing came of it: on an empty queue after `again` seconds, and
-- a longer while (a killed worker keeps its message) whatever the queue holds. Lost is a batch that was begun
-- since it was rung; one that nobody began (paused, held, no worker, no connection) is not.
UPDATE tenantry.batches AS b SET rung_at = clock_timestamp(), rings = b.rings + 1,
    lost = b.lost + CASE WHEN b.begun_at > b.rung_at THEN 1 ELSE 0 END
FROM (
    SELECT id FROM tenantry.batches
    WHERE job_id = %(job)s AND state = 'pending' AND (not_before IS NULL OR not_before <= clock_timestamp())
      AND (rung_at IS NULL OR rung_at < clock_timestamp() - make_interval(secs => %(after)s))
    ORDER BY id LIMIT %(most)s FOR UPDATE SKIP LOCKED
) AS due
WHERE b.id = due.id RETURNING b.id, b.rings;

-- name: unring
-- locks: ROW EXCLUSIVE on tenantry.batches.
UPDATE tenantry.batches SET rung_at = NULL, rings = rings - 1 WHERE id = ANY(%(ids)s) AND state = 'pending';

-- name: begin
-- locks: ROW EXCLUSIVE on tenantry.batches. Written before a batch that was rung more than once: a first try costs
-- nothing, and a batch that kills its worker or its backend each time gives itself away. One that another worker is
-- at is passed over, as its own statement will do: waited for, it cost this worker the rest of its message.
UPDATE tenantry.batches SET begun_at = clock_timestamp() WHERE id = (
    SELECT id FROM tenantry.batches WHERE id = %(batch)s AND state = 'pending' FOR UPDATE SKIP LOCKED);

-- name: lost
-- locks: ACCESS SHARE on tenantry.batches; a read. Batches that were lost `times` times.
SELECT id, job_id, by, lower, upper, stripe, rings FROM tenantry.batches
WHERE job_id = %(job)s AND state = 'pending' AND lost >= %(times)s;

-- name: pending
-- locks: ACCESS SHARE on tenantry.batches; a read.
SELECT count(*), max(extract(epoch FROM clock_timestamp() - created_at))::float8
FROM tenantry.batches WHERE job_id = %(job)s AND state = 'pending';

-- name: idle_seconds
-- locks: ACCESS SHARE on tenantry.batches; a read. Seconds since the job's last outcome or last ring.
SELECT extract(epoch FROM clock_timestamp() - greatest(
    (SELECT max(finished_at) FROM tenantry.batches WHERE job_id = %(job)s AND finished_at IS NOT NULL),
    (SELECT max(rung_at) FROM tenantry.batches WHERE job_id = %(job)s AND state = 'pending')))::float8 AS idle;

-- name: slice
-- locks: ACCESS SHARE on tenantry.batches; a read. What a message points at, as far as it is still to be done, and how
-- long ago it was rung for, in seconds.
SELECT id, job_id, by, lower, upper, stripe, rings,
       coalesce(extract(epoch FROM clock_timestamp() - rung_at), 0)::float8 AS waited
FROM tenantry.batches
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'pending' ORDER BY id;

-- name: recent
-- locks: ACCESS SHARE on tenantry.batches; a read. Duration and rows of the last batches, newest first.
SELECT duration_ms, rows FROM tenantry.batches
WHERE job_id = %(job)s AND state = 'done' AND origin = 'plan' AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT %(most)s;

-- name: failing
-- locks: ACCESS SHARE on tenantry.batches; a read. Of the last 50 batches touched: how many, how many failed, and
-- the commonest error. By two indexes: it is asked ten times a second, of 400,000 batches in a table of a billion rows.
-- Of the two halves of a batch that was split one must fail; it counts where both did. Six bad rows far apart, each of
-- them on its way down to a batch of its own, were else 26 of the last 50.
WITH touched AS (
    (SELECT split_from, finished_at AS at, failed_at IS NOT NULL AS failed, error FROM tenantry.batches
     WHERE job_id = %(job)s AND finished_at IS NOT NULL ORDER BY finished_at DESC LIMIT 50)
    UNION ALL
    (SELECT split_from, failed_at, true, error FROM tenantry.batches
     WHERE job_id = %(job)s AND failed_at IS NOT NULL AND finished_at IS NULL ORDER BY failed_at DESC LIMIT 50)
    ORDER BY at DESC LIMIT 50
), judged AS (
    SELECT error, failed AND NOT EXISTS (
        SELECT FROM tenantry.batches AS half
        WHERE half.split_from = touched.split_from AND half.failed_at IS NULL) AS failed
    FROM touched
)
SELECT count(*) AS touched, count(*) FILTER (WHERE failed) AS failed,
       (SELECT error FROM judged WHERE failed GROUP BY error ORDER BY count(*) DESC LIMIT 1) AS error
FROM judged;

-- name: failed
-- locks: ROW EXCLUSIVE on tenantry.batches. Written after the rollback, in its own transaction.
UPDATE tenantry.batches SET attempts = attempts + 1, sqlstate = %(sqlstate)s, error = %(error)s,
    failed_at = CASE WHEN %(counts)s THEN clock_timestamp() ELSE failed_at END,
    waiting_since = coalesce(waiting_since, clock_timestamp()),
    not_before = clock_timestamp() + make_interval(secs => least(30, power(2, least(attempts, 5)))), rung_at = NULL
WHERE id = %(batch)s AND state = 'pending';

-- name: interrupted
-- locks: ROW EXCLUSIVE on tenantry.batches. A batch whose connection was lost: its worker tells why on another one.
-- `rung_at` stays, for it may be lost each time: that is counted when it is rung again.
UPDATE tenantry.batches SET attempts = attempts + 1, sqlstate = %(sqlstate)s, error = %(error)s,
    waiting_since = coalesce(waiting_since, clock_timestamp())
WHERE id = %(batch)s AND state = 'pending';

-- name: split
-- locks: ROW EXCLUSIVE on tenantry.batches. The two halves take the place of the whole, in one statement.
WITH whole AS (
    UPDATE tenantry.batches SET state = 'split', finished_at = clock_timestamp()
    WHERE id = %(batch)s AND state = 'pending' RETURNING id, job_id, origin, by, lower, upper, stripe
)
INSERT INTO tenantry.batches (job_id, origin, split_from, by, lower, upper, stripe)
SELECT job_id, origin, id, by, lower, %(middle)s::text[], stripe FROM whole
UNION ALL
SELECT job_id, origin, id, by, %(middle)s::text[], upper, stripe FROM whole
RETURNING id;

-- name: quarantine
-- locks: ROW EXCLUSIVE on tenantry.batches and tenantry.quarantine.
WITH set_aside AS (
    UPDATE tenantry.batches SET state = 'quarantined', finished_at = clock_timestamp()
    WHERE id = %(batch)s AND state = 'pending' RETURNING id, job_id
)
INSERT INTO tenantry.quarantine (job_id, batch_id, key, sqlstate, message)
SELECT job_id, id, %(key)s, %(sqlstate)s, %(message)s FROM set_aside
ON CONFLICT (job_id, key) DO UPDATE SET batch_id = excluded.batch_id, message = excluded.message;

-- name: job_quarantined
-- locks: ACCESS SHARE on tenantry.quarantine; a read. How many rows of a job are set aside, and the first.
SELECT count(*) AS count, (array_agg(to_jsonb(key) ORDER BY id))[1] AS key, (array_agg(message ORDER BY id))[1] AS message
FROM tenantry.quarantine WHERE job_id = %(job)s;

-- name: count_quarantined
-- locks: ACCESS SHARE on tenantry.quarantine; a read.
SELECT count(*) FROM tenantry.quarantine q JOIN tenantry.jobs j ON j.id = q.job_id
WHERE j.migration_id = %(migration)s;

-- name: release
-- locks: ROW EXCLUSIVE on tenantry.quarantine, tenantry.batches and tenantry.jobs.
-- Failures are forgotten too: with those of before the cause was mended, a job would stop at its next failure.
WITH ours AS (
    SELECT id FROM tenantry.jobs WHERE migration_id = %(migration)s
), released AS (
    DELETE FROM tenantry.quarantine WHERE job_id IN (SELECT id FROM ours) RETURNING job_id
), again AS (
    UPDATE tenantry.batches AS b SET failed_at = NULL, attempts = 0, rings = 0, lost = 0, rung_at = NULL,
        not_before = NULL, waiting_since = NULL,
        state = CASE b.state WHEN 'quarantined' THEN 'pending' ELSE b.state END,
        finished_at = CASE b.state WHEN 'quarantined' THEN NULL ELSE b.finished_at END
    WHERE b.job_id IN (SELECT id FROM ours) AND (
        b.state = 'quarantined' OR b.failed_at IS NOT NULL OR (b.state = 'pending' AND (b.attempts > 0 OR b.lost > 0)))
    RETURNING b.state
), restarted AS (
    UPDATE tenantry.jobs SET state = 'running', reason = NULL, finished_at = NULL, sweeps = 0,
        swept_from = NULL, counted_to = 0, rows_done = 0, done = 0, split = 0, quarantined = 0
    WHERE id IN (SELECT id FROM ours) AND (state = 'stopped' OR id IN (SELECT job_id FROM released))
)
SELECT (SELECT count(*) FROM released) AS rows, (SELECT count(*) FROM again WHERE state = 'pending') AS batches;

-- name: gaps
-- locks: ACCESS SHARE on tenantry.batches; a read.
-- The planned batches that still stand are edges from lower to upper, one chain per stripe from NULL to the last
-- key. A chain has a gap where an upper is nobody's lower (but the last key), or a lower is nobody's upper. Each bound
-- is added where a batch begins and taken away where one ends: looked for one by one, 400,000 took 6 s.
WITH ends AS (
    SELECT stripe, bound, sum(begins) AS begins FROM (
        SELECT coalesce(stripe, 0) AS stripe, lower AS bound, 1 AS begins FROM tenantry.batches
        WHERE job_id = %(job)s AND origin = 'plan' AND state <> 'split'
        UNION ALL
        SELECT coalesce(stripe, 0), upper, -1 FROM tenantry.batches
        WHERE job_id = %(job)s AND origin = 'plan' AND state <> 'split'
    ) AS edges GROUP BY stripe, bound HAVING sum(begins) <> 0
), stripes AS (
    SELECT generate_series(0, %(stripes)s - 1) AS stripe
)
SELECT stripe, 'nothing begins at the first key' AS gap FROM stripes
WHERE NOT EXISTS (SELECT FROM ends WHERE ends.stripe = stripes.stripe AND bound IS NULL)
UNION ALL
SELECT stripe, 'nothing reaches the last key' FROM stripes
WHERE NOT EXISTS (SELECT FROM ends WHERE ends.stripe = stripes.stripe AND bound = %(last_key)s::text[] AND begins < 0)
UNION ALL
SELECT stripe, 'nothing goes on after ' || bound::text FROM ends
WHERE begins < 0 AND bound <> %(last_key)s::text[]
UNION ALL
SELECT stripe, 'nothing leads to ' || bound::text FROM ends WHERE begins > 0 AND bound IS NOT NULL;

-- name: rates
-- locks: ACCESS SHARE on the ledger; a read. Rows that batches wrote, table by table, in at most `most` equal pieces of time.
WITH span AS (
    SELECT min(started_at) AS began, greatest(1, extract(epoch FROM
        max(coalesce(finished_at, clock_timestamp())) - min(started_at))::float8 / %(most)s) AS width
    FROM tenantry.jobs WHERE migration_id = %(migration)s AND kind IN ('fill', 'copy')
), placed AS (
    SELECT j.table_name, b.rows, b.duration_ms,
           floor(extract(epoch FROM b.finished_at - span.began)::float8 / span.width) AS piece
    FROM span CROSS JOIN tenantry.jobs AS j JOIN tenantry.batches AS b ON b.job_id = j.id
    WHERE j.migration_id = %(migration)s AND j.kind IN ('fill', 'copy') AND b.finished_at IS NOT NULL AND b.rows > 0
)
SELECT table_name AS table, span.began + make_interval(secs => piece * span.width) AS at, span.width AS seconds,
       sum(rows)::bigint AS filled, count(*) AS batches, max(duration_ms) AS longest_ms
FROM placed CROSS JOIN span GROUP BY table_name, piece, span.began, span.width ORDER BY at, table_name;

-- name: progress
-- locks: ACCESS SHARE on the ledger; a read. What `count_settled` has counted, and the batches above it. While rows go from
-- one tenant to another, or into schemas, it is that work which is shown.
SELECT j.id, j.table_name, j.part, j.why, j.kind, j.state, j.spec, j.rows_total, j.batch_rows, j.planned, j.started_at,
       j.finished_at, j.reason,
       (j.rows_done + above.rows)::bigint AS rows_done, above.pending, j.done + above.done AS done,
       j.split + above.split AS split, j.quarantined + above.quarantined AS quarantined,
       extract(epoch FROM clock_timestamp() - above.oldest)::float8 AS oldest_pending_seconds,
       extract(epoch FROM coalesce(j.finished_at, clock_timestamp()) - j.started_at)::float8 AS running_seconds,
       j.held_seconds,
       (SELECT coalesce(sum(b.rows), 0)::float8 FROM tenantry.batches AS b
        WHERE b.job_id = j.id AND b.finished_at > statement_timestamp() - interval '10 seconds') AS rows_last_10_seconds,
       (SELECT max(b.finished_at) FROM tenantry.batches AS b
        WHERE b.job_id = j.id AND b.finished_at IS NOT NULL) AS last_progress_at
FROM tenantry.jobs AS j CROSS JOIN LATERAL (
    SELECT coalesce(sum(b.rows), 0) AS rows, count(*) FILTER (WHERE b.state = 'pending') AS pending,
           count(*) FILTER (WHERE b.state = 'done') AS done, count(*) FILTER (WHERE b.state = 'split') AS split,
           count(*) FILTER (WHERE b.state = 'quarantined') AS quarantined,
           min(b.created_at) FILTER (WHERE b.state = 'pending') AS oldest
    FROM tenantry.batches AS b WHERE b.job_id = j.id AND b.id > j.counted_to
) AS above
WHERE j.migration_id = %(migration)s AND (j.kind IN ('assign', 'copy') OR NOT EXISTS (
    SELECT FROM tenantry.jobs AS a WHERE a.migration_id = %(migration)s AND a.kind IN ('assign', 'copy')))
ORDER BY j.id;
