-- What is to be filled and what is filled; see `ledger.sql` for names, times and the prefix.

-- name: add
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_jobs (migration_id, table_name, part, kind, state, spec, last_key, planned, batch_rows, rows_total,
                           why, started_at, finished_at)
VALUES (:migration, :table, :part, :kind, :state, :spec, :last_key, :last_key IS NULL, :batch_rows, :rows_total, :why,
        :now, CASE WHEN :state = 'complete' THEN :now END)
ON CONFLICT (migration_id, table_name, part, kind) DO NOTHING;

-- name: of_migration
-- locks: none; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry_jobs WHERE migration_id = :migration AND kind IN ('fill', 'reset') ORDER BY id;

-- name: of_kind
-- locks: none; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry_jobs WHERE migration_id = :migration AND kind = :kind ORDER BY id;

-- name: rows_done
-- locks: none; a read.
SELECT coalesce(sum(rows), 0) AS rows FROM tenantry_batches WHERE job_id = :job;

-- name: of_parts
-- locks: none; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry_jobs
WHERE migration_id = :migration AND part IN (SELECT value FROM json_each(:parts)) AND kind IN ('fill', 'reset')
ORDER BY id;

-- name: by_id
-- locks: none; a read.
SELECT id, table_name, part, kind, state, spec, last_key, planned_to, planned, batch_rows, rows_total, sweeps,
       started_at, finished_at, reason
FROM tenantry_jobs WHERE id = :job;

-- name: standing
-- locks: none; a read. A job, and what the operator wants of it now.
SELECT j.id, j.table_name, j.part, j.kind, j.state, j.spec, j.last_key, j.planned_to, j.planned, j.batch_rows,
       j.rows_total, j.sweeps, j.started_at, j.reason, m.state AS migration_state, m.settings
FROM tenantry_jobs AS j JOIN tenantry_migrations AS m ON m.id = j.migration_id WHERE j.id = :job;

-- name: forget
-- locks: the file's write lock, for the ledger's own rows.
DELETE FROM tenantry_quarantine WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration);
DELETE FROM tenantry_batches WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration);
DELETE FROM tenantry_jobs WHERE migration_id = :migration;

-- name: forget_kind
-- locks: the file's write lock, for the ledger's own rows.
DELETE FROM tenantry_quarantine WHERE job_id IN (
    SELECT id FROM tenantry_jobs WHERE migration_id = :migration AND kind = :kind);
DELETE FROM tenantry_batches WHERE job_id IN (
    SELECT id FROM tenantry_jobs WHERE migration_id = :migration AND kind = :kind);
DELETE FROM tenantry_jobs WHERE migration_id = :migration AND kind = :kind;

-- name: forget_parts
-- locks: the file's write lock, for the ledger's own rows.
DELETE FROM tenantry_jobs
WHERE migration_id = :migration AND table_name = :table AND part NOT IN (SELECT value FROM json_each(:there))
RETURNING part;

-- name: is_there
-- locks: none; a read of the schema.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :part COLLATE NOCASE) AS there;

-- name: set_state
-- locks: the file's write lock, for one row.
UPDATE tenantry_jobs SET state = :state, reason = :reason,
    finished_at = CASE WHEN :state = 'complete' THEN :now END
WHERE id = :job;

-- name: stop_refused
-- locks: the file's write lock, for one row. A job that runs, and whose batch ended in an error of this class the last time too.
UPDATE tenantry_jobs SET state = 'stopped', reason = :reason
WHERE id = :job AND state = 'running' AND EXISTS (
    SELECT 1 FROM tenantry_batches WHERE id = :batch AND attempts > 0 AND sqlstate LIKE '42%')
RETURNING id;

-- name: add_batch
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_batches (job_id, origin, by, lower, upper, stripe, created_at)
VALUES (:job, :origin, :by, :lower, :upper, :stripe, :now) RETURNING id;

-- name: count_sweep
-- locks: the file's write lock, for one row.
UPDATE tenantry_jobs
SET sweeps = sweeps + CASE WHEN :whole OR :left >= swept_from THEN 1 ELSE 0 END, swept_from = :left
WHERE id = :job;

-- name: advance
-- locks: the file's write lock, for one row.
UPDATE tenantry_jobs SET planned_to = :planned_to, planned = :planned, batch_rows = :batch_rows WHERE id = :job;

-- name: count_held
-- locks: the file's write lock, for one row.
UPDATE tenantry_jobs SET held_seconds = held_seconds + :seconds WHERE id = :job;

-- name: count_settled
-- locks: the file's write lock, for one row. Batches below the first that is pending are settled for good, but by a retry:
-- they are counted once, so that the display reads what is under way.
UPDATE tenantry_jobs AS j SET counted_to = settled.last, rows_done = j.rows_done + settled.rows,
    done = j.done + settled.done, split = j.split + settled.split, quarantined = j.quarantined + settled.quarantined
FROM (
    SELECT max(b.id) AS last, coalesce(sum(b.rows), 0) AS rows, count(*) FILTER (WHERE b.state = 'done') AS done,
           count(*) FILTER (WHERE b.state = 'split') AS split,
           count(*) FILTER (WHERE b.state = 'quarantined') AS quarantined
    FROM tenantry_jobs AS j JOIN tenantry_batches AS b ON b.job_id = j.id AND b.id > j.counted_to
    WHERE j.id = :job AND b.id < coalesce(
        (SELECT min(id) FROM tenantry_batches WHERE job_id = :job AND state = 'pending'), 9223372036854775807)
) AS settled WHERE j.id = :job AND settled.last IS NOT NULL;

-- name: begin
-- locks: the file's write lock, for one row. Written before a batch whose process died in it: one that kills it each time gives
-- itself away.
UPDATE tenantry_batches SET lost = lost + CASE WHEN begun_at IS NULL THEN 0 ELSE 1 END, begun_at = :now
WHERE id = :batch AND state = 'pending';

-- name: lost
-- locks: none; a read. Batches that were begun `times` times with no outcome.
SELECT id, job_id, by, lower, upper, stripe, rings FROM tenantry_batches
WHERE job_id = :job AND state = 'pending' AND lost >= :times;

-- name: due
-- locks: none; a read. The next batch that may go.
SELECT id, job_id, by, lower, upper, stripe, rings FROM tenantry_batches
WHERE job_id = :job AND state = 'pending' AND (not_before IS NULL OR not_before <= :now) ORDER BY id LIMIT 1;

-- name: pending
-- locks: none; a read.
SELECT count(*) AS count, :now - min(created_at) AS oldest FROM tenantry_batches
WHERE job_id = :job AND state = 'pending';

-- name: recent
-- locks: none; a read. Duration and rows of the last batches, newest first.
SELECT duration_ms, rows FROM tenantry_batches
WHERE job_id = :job AND state = 'done' AND origin = 'plan' AND finished_at IS NOT NULL
ORDER BY finished_at DESC LIMIT :most;

-- name: failing
-- locks: none; a read. Of the last 50 batches touched: how many, how many failed, and the commonest error. Of the two halves
-- of a batch that was split one must fail; it counts where both did.
WITH touched AS (
    SELECT split_from, coalesce(finished_at, failed_at) AS at, failed_at IS NOT NULL AS failed, error
    FROM tenantry_batches
    WHERE job_id = :job AND (finished_at IS NOT NULL OR failed_at IS NOT NULL)
    ORDER BY coalesce(finished_at, failed_at) DESC LIMIT 50
), judged AS (
    SELECT error, failed AND NOT EXISTS (
        SELECT 1 FROM tenantry_batches AS half
        WHERE half.split_from = touched.split_from AND half.failed_at IS NULL) AS failed
    FROM touched
)
SELECT count(*) AS touched, count(*) FILTER (WHERE failed) AS failed,
       (SELECT error FROM judged WHERE failed GROUP BY error ORDER BY count(*) DESC LIMIT 1) AS error
FROM judged;

-- name: failed
-- locks: the file's write lock, for one row. Written after the rollback, in its own transaction.
UPDATE tenantry_batches SET attempts = attempts + 1, sqlstate = :sqlstate, error = :error, begun_at = NULL,
    failed_at = CASE WHEN :counts THEN :now ELSE failed_at END,
    waiting_since = coalesce(waiting_since, :now),
    not_before = :now + min(30.0, CAST(1 << min(attempts, 5) AS REAL)), rung_at = NULL
WHERE id = :batch AND state = 'pending';

-- name: done
-- locks: none beside those of the batch's own transaction.
UPDATE tenantry_batches SET state = 'done', rows = :rows, duration_ms = :duration_ms, finished_at = :now
WHERE id = :batch AND state = 'pending';

-- name: split
-- locks: the file's write lock, for three rows: two halves take the place of the whole.
INSERT INTO tenantry_batches (job_id, origin, split_from, by, lower, upper, stripe, created_at)
SELECT job_id, origin, id, by, lower, :middle, stripe, :now FROM tenantry_batches WHERE id = :batch AND state = 'pending'
UNION ALL
SELECT job_id, origin, id, by, :middle, upper, stripe, :now FROM tenantry_batches WHERE id = :batch AND state = 'pending';
UPDATE tenantry_batches SET state = 'split', finished_at = :now WHERE id = :batch AND state = 'pending';

-- name: quarantine
-- locks: the file's write lock, for two rows.
INSERT INTO tenantry_quarantine (job_id, batch_id, key, sqlstate, message, created_at)
SELECT job_id, id, :key, :sqlstate, :message, :now FROM tenantry_batches WHERE id = :batch AND state = 'pending'
ON CONFLICT (job_id, key) DO UPDATE SET batch_id = excluded.batch_id, message = excluded.message;
UPDATE tenantry_batches SET state = 'quarantined', finished_at = :now WHERE id = :batch AND state = 'pending';

-- name: job_quarantined
-- locks: none; a read. How many rows of a job are set aside, and the first.
SELECT count(*) AS count, (SELECT key FROM tenantry_quarantine WHERE job_id = :job ORDER BY id LIMIT 1) AS key,
       (SELECT message FROM tenantry_quarantine WHERE job_id = :job ORDER BY id LIMIT 1) AS message
FROM tenantry_quarantine WHERE job_id = :job;

-- name: count_quarantined
-- locks: none; a read.
SELECT count(*) AS count FROM tenantry_quarantine AS q JOIN tenantry_jobs AS j ON j.id = q.job_id
WHERE j.migration_id = :migration;

-- name: release
-- locks: the file's write lock, for what is released. Failures are forgotten too: with those of before the cause was mended, a
-- job would stop at its next failure.
CREATE TEMP TABLE tenantry_released AS
SELECT (SELECT count(*) FROM tenantry_quarantine WHERE job_id IN (
           SELECT id FROM tenantry_jobs WHERE migration_id = :migration)) AS rows,
       (SELECT count(*) FROM tenantry_batches WHERE job_id IN (
           SELECT id FROM tenantry_jobs WHERE migration_id = :migration)
        AND (state = 'quarantined' OR (state = 'pending' AND (attempts > 0 OR lost > 0)))) AS batches;
UPDATE tenantry_jobs SET state = 'running', reason = NULL, finished_at = NULL, sweeps = 0, swept_from = NULL,
    counted_to = 0, rows_done = 0, done = 0, split = 0, quarantined = 0
WHERE migration_id = :migration AND (state = 'stopped' OR id IN (SELECT job_id FROM tenantry_quarantine));
UPDATE tenantry_batches SET failed_at = NULL, attempts = 0, rings = 0, lost = 0, begun_at = NULL, rung_at = NULL,
    not_before = NULL, waiting_since = NULL,
    finished_at = CASE state WHEN 'quarantined' THEN NULL ELSE finished_at END,
    state = CASE state WHEN 'quarantined' THEN 'pending' ELSE state END
WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration) AND (
    state = 'quarantined' OR failed_at IS NOT NULL OR (state = 'pending' AND (attempts > 0 OR lost > 0)));
DELETE FROM tenantry_quarantine WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration);
SELECT rows, batches FROM tenantry_released;
DROP TABLE tenantry_released;

-- name: gaps
-- locks: none; a read. The planned batches that still stand are edges from lower to upper, a chain from NULL to the last key:
-- each bound is added where a batch begins and taken away where one ends.
WITH ends AS (
    SELECT bound, sum(begins) AS begins FROM (
        SELECT lower AS bound, 1 AS begins FROM tenantry_batches
        WHERE job_id = :job AND origin = 'plan' AND state <> 'split'
        UNION ALL
        SELECT upper, -1 FROM tenantry_batches WHERE job_id = :job AND origin = 'plan' AND state <> 'split'
    ) AS edges GROUP BY bound HAVING sum(begins) <> 0
)
SELECT 0 AS stripe, 'nothing begins at the first key' AS gap
WHERE NOT EXISTS (SELECT 1 FROM ends WHERE bound IS NULL)
UNION ALL
SELECT 0, 'nothing reaches the last key'
WHERE NOT EXISTS (SELECT 1 FROM ends WHERE bound = :last_key AND begins < 0)
UNION ALL
SELECT 0, 'nothing goes on after ' || bound FROM ends WHERE begins < 0 AND bound <> :last_key
UNION ALL
SELECT 0, 'nothing leads to ' || bound FROM ends WHERE begins > 0 AND bound IS NOT NULL;

-- name: rates
-- locks: none; a read.
WITH span AS (
    SELECT min(started_at) AS began, max(1.0, (max(coalesce(finished_at, :now)) - min(started_at)) / :most) AS width
    FROM tenantry_jobs WHERE migration_id = :migration AND kind IN ('fill', 'copy')
), placed AS (
    SELECT j.table_name, b.rows, b.duration_ms, CAST((b.finished_at - span.began) / span.width AS INTEGER) AS piece
    FROM span CROSS JOIN tenantry_jobs AS j JOIN tenantry_batches AS b ON b.job_id = j.id
    WHERE j.migration_id = :migration AND j.kind IN ('fill', 'copy') AND b.finished_at IS NOT NULL AND b.rows > 0
)
SELECT table_name AS "table", span.began + piece * span.width AS at, span.width AS seconds,
       sum(rows) AS filled, count(*) AS batches, max(duration_ms) AS longest_ms
FROM placed CROSS JOIN span GROUP BY table_name, piece, span.began, span.width ORDER BY at, table_name;

-- name: progress
-- locks: none; a read. What `count_settled` has counted, and the batches above it.
WITH above AS (
    SELECT j.id AS job_id, coalesce(sum(b.rows), 0) AS rows, count(b.id) FILTER (WHERE b.state = 'pending') AS pending,
           count(b.id) FILTER (WHERE b.state = 'done') AS done, count(b.id) FILTER (WHERE b.state = 'split') AS split,
           count(b.id) FILTER (WHERE b.state = 'quarantined') AS quarantined,
           min(b.created_at) FILTER (WHERE b.state = 'pending') AS oldest
    FROM tenantry_jobs AS j LEFT JOIN tenantry_batches AS b ON b.job_id = j.id AND b.id > j.counted_to
    WHERE j.migration_id = :migration GROUP BY j.id
)
SELECT j.id, j.table_name, j.part, j.why, j.kind, j.state, j.spec, j.rows_total, j.batch_rows, j.planned, j.started_at,
       j.finished_at, j.reason, j.rows_done + above.rows AS rows_done, above.pending, j.done + above.done AS done,
       j.split + above.split AS split, j.quarantined + above.quarantined AS quarantined,
       :now - above.oldest AS oldest_pending_seconds,
       coalesce(j.finished_at, :now) - j.started_at AS running_seconds, j.held_seconds,
       (SELECT coalesce(sum(b.rows), 0.0) FROM tenantry_batches AS b
        WHERE b.job_id = j.id AND b.finished_at > :now - 10) AS rows_last_10_seconds,
       (SELECT max(b.finished_at) FROM tenantry_batches AS b
        WHERE b.job_id = j.id AND b.finished_at IS NOT NULL) AS last_progress_at
FROM tenantry_jobs AS j JOIN above ON above.job_id = j.id
WHERE j.kind IN ('assign', 'copy') OR NOT EXISTS (
    SELECT 1 FROM tenantry_jobs AS a WHERE a.migration_id = :migration AND a.kind IN ('assign', 'copy'))
ORDER BY j.id;
