-- name: create
-- locks: nothing of the application's; makes the schema `tenantry` and its own tables (ACCESS EXCLUSIVE on them,
-- which nobody else knows yet).
CREATE SCHEMA IF NOT EXISTS tenantry;
CREATE TABLE IF NOT EXISTS tenantry.migrations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    state       text NOT NULL DEFAULT 'running'
                CHECK (state IN ('running', 'paused', 'cancelled', 'rolling back', 'complete')),
    tables      jsonb NOT NULL,
    original    jsonb NOT NULL,
    settings    jsonb NOT NULL,
    tuned       jsonb NOT NULL DEFAULT '{{}}',
    memory      jsonb NOT NULL DEFAULT '{{}}',
    held        jsonb,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
CREATE TABLE IF NOT EXISTS tenantry.stages (
    migration_id bigint NOT NULL REFERENCES tenantry.migrations ON DELETE CASCADE,
    name         text NOT NULL,
    state        text NOT NULL CHECK (state IN ('open', 'running', 'waiting', 'done', 'failed')),
    confirmed_by text,
    confirmed_at timestamptz,
    started_at   timestamptz,
    finished_at  timestamptz,
    detail       text,
    -- Since when its gate is closed; a run that finds it closed again changes nothing.
    closed_since timestamptz,
    PRIMARY KEY (migration_id, name)
);
CREATE TABLE IF NOT EXISTS tenantry.jobs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id bigint NOT NULL REFERENCES tenantry.migrations ON DELETE CASCADE,
    table_name   text NOT NULL,
    part         text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('fill', 'assign', 'reset', 'copy')),
    state        text NOT NULL CHECK (state IN ('running', 'stopped', 'complete')),
    spec         jsonb NOT NULL,
    last_key     text[],
    planned_to   text[],
    planned      boolean NOT NULL DEFAULT false,
    batch_rows   integer NOT NULL,
    rows_total   bigint NOT NULL,
    why          text NOT NULL,
    sweeps       integer NOT NULL DEFAULT 0,
    swept_from   bigint,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz,
    reason       text,
    counted_to   bigint NOT NULL DEFAULT 0,
    rows_done    bigint NOT NULL DEFAULT 0,
    done         bigint NOT NULL DEFAULT 0,
    split        bigint NOT NULL DEFAULT 0,
    quarantined  bigint NOT NULL DEFAULT 0,
    held_seconds double precision NOT NULL DEFAULT 0,
    UNIQUE (migration_id, table_name, part, kind)
);
-- Half of each page is left free: a batch's row is updated two or three times, and stays in its page.
CREATE TABLE IF NOT EXISTS tenantry.batches (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id      bigint NOT NULL REFERENCES tenantry.jobs ON DELETE CASCADE,
    origin      text NOT NULL CHECK (origin IN ('plan', 'rest', 'sweep')),
    split_from  bigint,
    by          text NOT NULL CHECK (by IN ('key', 'page')),
    lower       text[],
    upper       text[] NOT NULL,
    stripe      integer,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'split', 'quarantined')),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    rung_at     timestamptz,
    rings       integer NOT NULL DEFAULT 0,
    begun_at    timestamptz,
    lost        integer NOT NULL DEFAULT 0,
    not_before  timestamptz,
    waiting_since timestamptz,
    attempts    integer NOT NULL DEFAULT 0,
    failed_at   timestamptz,
    sqlstate    text,
    error       text,
    rows        bigint,
    duration_ms double precision,
    finished_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS batches_pending ON tenantry.batches (job_id, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS batches_of_job ON tenantry.batches (job_id, id);
CREATE INDEX IF NOT EXISTS batches_finished ON tenantry.batches (job_id, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS batches_failed ON tenantry.batches (job_id, failed_at)
    WHERE failed_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX IF NOT EXISTS batches_split ON tenantry.batches (split_from) WHERE split_from IS NOT NULL;
CREATE TABLE IF NOT EXISTS tenantry.quarantine (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     bigint NOT NULL REFERENCES tenantry.jobs ON DELETE CASCADE,
    batch_id   bigint,
    key        text[] NOT NULL,
    sqlstate   text NOT NULL,
    message    text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (job_id, key)
);
-- Rows that went from one tenant to another by `tenants assign`: each assignment, and the keys of what it moved.
CREATE TABLE IF NOT EXISTS tenantry.assignments (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id bigint NOT NULL REFERENCES tenantry.migrations ON DELETE CASCADE,
    to_tenant    text NOT NULL,
    from_tenant  text NOT NULL,
    condition    text,
    tables       jsonb NOT NULL,
    undoes       bigint,
    state        text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'undone')),
    rows         jsonb NOT NULL DEFAULT '{{}}',
    before       text NOT NULL,
    actor        text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at  timestamptz
);
-- Without a foreign key: each row would lock that of its assignment, for two workers at once 8,000 times a second.
CREATE TABLE IF NOT EXISTS tenantry.assigned (
    assignment bigint NOT NULL,
    of_table   text NOT NULL,
    key        text[] NOT NULL,
    -- Of a row that was copied: whether it was removed where it was.
    settled    boolean NOT NULL DEFAULT false,
    PRIMARY KEY (assignment, of_table, key)
);
CREATE TABLE IF NOT EXISTS tenantry.events (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id bigint NOT NULL REFERENCES tenantry.migrations ON DELETE CASCADE,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor        text NOT NULL,
    kind         text NOT NULL,
    message      text NOT NULL,
    stage        text,
    -- Of a statement that the controller ran: written before it, the figures and the error after it. One that has
    -- neither is running, or its controller died.
    statement    text,
    lock         text,
    attempts     integer,
    waited_ms    double precision,
    took_ms      double precision,
    error        text,
    -- Of what is announced: its facts and, where a webhook is to hear of it, how far it got. Being written is being in the
    -- outbox; `delivery_error` is what stood in the way last.
    about          jsonb,
    delivery       text CHECK (delivery IN ('due', 'sent', 'refused', 'given up')),
    delivered_at   timestamptz,
    delivery_error text
);
CREATE INDEX IF NOT EXISTS events_of_migration ON tenantry.events (migration_id, id);
CREATE INDEX IF NOT EXISTS events_due ON tenantry.events (migration_id, id) WHERE delivery = 'due';
-- A signal that can't be read is said once, whichever worker sees it first.
CREATE UNIQUE INDEX IF NOT EXISTS events_unreadable ON tenantry.events (migration_id, split_part(message, ':', 1))
    WHERE kind = 'unreadable';
-- What the governor sampled last: one row for each migration, written once a second, in its page.
CREATE TABLE IF NOT EXISTS tenantry.governor (
    migration_id bigint PRIMARY KEY REFERENCES tenantry.migrations ON DELETE CASCADE,
    at           timestamptz NOT NULL,
    zone         text NOT NULL,
    share        double precision NOT NULL,
    reason       text NOT NULL,
    sample       jsonb NOT NULL
) WITH (fillfactor = 50);
-- The same over time, ten seconds a row and no more than some thousand: the mean share, and of each signal the worst.
-- Without a foreign key: whoever keeps the migration's row locked is no reason for a worker to wait.
CREATE TABLE IF NOT EXISTS tenantry.paces (
    migration_id bigint NOT NULL,
    at           timestamptz NOT NULL,
    samples      integer NOT NULL DEFAULT 1,
    share        double precision NOT NULL,
    slowed_by    text,
    "commit"     double precision,
    lag          double precision,
    waited       double precision,
    query        double precision,
    batch        double precision,
    PRIMARY KEY (migration_id, at)
) WITH (fillfactor = 50);
-- Who let no batch go, why, and from when to when. `gone`: whoever wrote the end down found the worker gone.
CREATE TABLE IF NOT EXISTS tenantry.holds (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id bigint NOT NULL REFERENCES tenantry.migrations ON DELETE CASCADE,
    worker       text NOT NULL,
    reason       text NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    until        timestamptz,
    gone         boolean NOT NULL DEFAULT false
);
CREATE INDEX IF NOT EXISTS holds_of_migration ON tenantry.holds (migration_id, id);
CREATE INDEX IF NOT EXISTS holds_open ON tenantry.holds (migration_id, worker) WHERE until IS NULL;
-- The versions that this schema has had, since when, and by which program; `upgrade.sql` takes an older one to the last.
CREATE TABLE IF NOT EXISTS tenantry.version (
    version integer PRIMARY KEY,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    program text NOT NULL
);

-- name: exists
-- locks: ACCESS SHARE on the catalog; a read.
SELECT to_regclass('tenantry.migrations') IS NOT NULL AS "exists";

-- name: drop
-- locks: ACCESS EXCLUSIVE on the ledger's own tables, which the application never reads, and on the list of tenants that it may:
-- it waits for milliseconds, and from then on no tenant is served as a migrated one.
DROP SCHEMA IF EXISTS tenantry CASCADE;
DROP SCHEMA IF EXISTS tenantry_tenants CASCADE;

-- name: begin_migration
-- locks: ROW EXCLUSIVE on tenantry.migrations.
INSERT INTO tenantry.migrations (name, tables, original, settings)
VALUES (%(name)s, %(tables)s, %(original)s, %(settings)s)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings,
    state = CASE WHEN migrations.state IN ('complete', 'paused', 'cancelled') THEN migrations.state ELSE 'running' END
RETURNING id, original, tables, state;

-- name: migration
-- locks: ACCESS SHARE on tenantry.migrations; a read.
SELECT id, name, state, tables, original, settings, tuned, held, started_at, finished_at
FROM tenantry.migrations WHERE name = %(name)s;

-- name: wait_briefly
-- locks: none; for the transaction that runs. A row of the ledger is somebody else's for milliseconds.
SELECT set_config('lock_timeout', '5s', true);

-- name: hold_migration
-- locks: ROW SHARE on tenantry.migrations, and the migration's row until the transaction's end: two who tune at the same
-- time would else forget what the other said. Workers and displays only read it.
SELECT FROM tenantry.migrations WHERE name = %(name)s FOR UPDATE;

-- name: tune
-- locks: ROW EXCLUSIVE on tenantry.migrations.
UPDATE tenantry.migrations SET tuned = %(tuned)s, settings = %(settings)s WHERE id = %(migration)s;

-- name: state
-- locks: ACCESS SHARE on tenantry.migrations; a read.
SELECT state FROM tenantry.migrations WHERE id = %(migration)s;

-- name: workers
-- locks: ACCESS SHARE on tenantry.migrations; a read. How many processes a pool shall have; NULL: as it was started.
SELECT (settings ->> 'workers')::integer AS workers FROM tenantry.migrations WHERE name = %(name)s;

-- name: set_state
-- locks: ROW EXCLUSIVE on tenantry.migrations.
UPDATE tenantry.migrations
SET state = %(state)s, finished_at = CASE WHEN %(state)s = 'complete' THEN clock_timestamp() END
WHERE id = %(migration)s;

-- name: keep_tables
-- locks: ROW EXCLUSIVE on tenantry.migrations, and writes nothing as a rule: only where a table has left the plan.
UPDATE tenantry.migrations SET tables = %(tables)s
WHERE id = %(migration)s AND NOT tables <@ %(tables)s;

-- name: forget_migration
-- locks: ROW EXCLUSIVE on the ledger's tables.
WITH assigned AS (
    DELETE FROM tenantry.assigned WHERE assignment IN (
        SELECT id FROM tenantry.assignments WHERE migration_id = %(migration)s)
), paces AS (
    DELETE FROM tenantry.paces WHERE migration_id = %(migration)s
)
DELETE FROM tenantry.migrations WHERE id = %(migration)s;

-- name: count_migrations
-- locks: ACCESS SHARE on tenantry.migrations; a read.
SELECT count(*) FROM tenantry.migrations;

-- name: current
-- locks: ACCESS SHARE on tenantry.migrations and tenantry.jobs; a read. No row where no batch of the job may go.
SELECT m.id, m.name, m.settings, j.started_at AS job_started_at
FROM tenantry.jobs AS j JOIN tenantry.migrations AS m ON m.id = j.migration_id
WHERE j.id = %(job)s AND j.state = 'running'
  AND m.state = CASE j.kind WHEN 'reset' THEN 'rolling back' ELSE 'running' END;

-- name: remember
-- locks: ROW EXCLUSIVE on tenantry.migrations.
UPDATE tenantry.migrations SET memory = memory || jsonb_build_object(%(key)s::text, %(value)s::jsonb)
WHERE id = %(migration)s;

-- name: recall
-- locks: ACCESS SHARE on tenantry.migrations; a read.
SELECT memory -> %(key)s::text AS value FROM tenantry.migrations WHERE id = %(migration)s;

-- name: set_held
-- locks: ROW EXCLUSIVE on tenantry.migrations and tenantry.holds; written when a worker's reason changes, not per sample.
-- Each worker has its own reason: one that goes on takes nobody else's back. Those of workers that are gone go with the
-- next change.
WITH begun AS (
    INSERT INTO tenantry.holds (migration_id, worker, reason)
    SELECT %(migration)s, %(worker)s, %(reason)s::text WHERE %(reason)s::text IS NOT NULL
), ended AS (
    UPDATE tenantry.holds AS h SET until = clock_timestamp(), gone = h.worker <> %(worker)s
    WHERE h.migration_id = %(migration)s AND h.until IS NULL AND (h.worker = %(worker)s OR NOT EXISTS (
        SELECT FROM pg_stat_activity AS a WHERE a.application_name = left('tenantry worker ' || h.worker, 63)))
)
UPDATE tenantry.migrations AS m
SET held = nullif(coalesce((
        SELECT jsonb_object_agg(h.key, h.value) FROM jsonb_each(m.held) AS h
        WHERE h.key <> %(worker)s AND EXISTS (
            SELECT FROM pg_stat_activity AS a WHERE a.application_name = left('tenantry worker ' || h.key, 63))
    ), '{{}}') || CASE WHEN %(reason)s::text IS NULL THEN '{{}}'
        ELSE jsonb_build_object(%(worker)s::text,
                                jsonb_build_object('reason', %(reason)s::text, 'since', clock_timestamp())) END, '{{}}')
WHERE id = %(migration)s AND (%(reason)s::text IS NOT NULL OR held IS NOT NULL);

-- name: clear_held
-- locks: ROW EXCLUSIVE on tenantry.migrations and tenantry.holds.
WITH ended AS (
    UPDATE tenantry.holds SET until = clock_timestamp() WHERE migration_id = %(migration)s AND until IS NULL
)
UPDATE tenantry.migrations SET held = NULL WHERE id = %(migration)s AND held IS NOT NULL;

-- name: trim_holds
-- locks: ROW EXCLUSIVE on tenantry.holds. All but the last `most` of a migration; the first of them is found by its index.
DELETE FROM tenantry.holds WHERE migration_id = %(migration)s AND id <= (
    SELECT id FROM tenantry.holds WHERE migration_id = %(migration)s ORDER BY id DESC OFFSET %(most)s LIMIT 1);

-- name: holds
-- locks: ACCESS SHARE on tenantry.holds; a read.
SELECT worker, reason, since, until, gone FROM tenantry.holds WHERE migration_id = %(migration)s ORDER BY id;

-- name: holding
-- locks: ACCESS SHARE on tenantry.migrations; a read. Living workers that hold, the first first: a connection bears the
-- name of its worker, cut off at 63 bytes.
SELECT h.key AS worker, h.value ->> 'reason' AS reason, (h.value ->> 'since')::timestamptz AS since
FROM tenantry.migrations AS m CROSS JOIN LATERAL jsonb_each(m.held) AS h
WHERE m.id = %(migration)s AND h.value ->> 'reason' IS NOT NULL AND EXISTS (
    SELECT FROM pg_stat_activity AS a WHERE a.application_name = left('tenantry worker ' || h.key, 63))
ORDER BY since, worker;

-- name: everybody_holds
-- locks: ACCESS SHARE on tenantry.migrations; a read. Whether there are workers, and each of them holds.
SELECT count(*) > 0 AND bool_and(EXISTS (
    SELECT FROM tenantry.migrations AS m CROSS JOIN LATERAL jsonb_object_keys(m.held) AS worker
    WHERE m.id = %(migration)s AND left('tenantry worker ' || worker, 63) = living.application_name)) AS "all"
FROM (SELECT DISTINCT application_name FROM pg_stat_activity
      WHERE application_name LIKE 'tenantry worker %%' AND datname = current_database()) AS living;

-- name: show_governor
-- locks: ROW EXCLUSIVE on tenantry.governor and tenantry.paces; by the worker that sampled, once a second for all of them.
-- Whether it is the first sample of its ten seconds.
WITH shown AS (
    INSERT INTO tenantry.governor AS g (migration_id, at, zone, share, reason, sample)
    VALUES (%(migration)s, clock_timestamp(), %(zone)s, %(share)s, %(reason)s, %(sample)s)
    ON CONFLICT (migration_id) DO UPDATE SET at = excluded.at, zone = excluded.zone, share = excluded.share,
        reason = excluded.reason, sample = excluded.sample
)
INSERT INTO tenantry.paces AS p (migration_id, at, share, slowed_by, "commit", lag, waited, query, batch)
SELECT %(migration)s, date_bin('10 seconds', clock_timestamp(), 'epoch'), %(share)s,
       CASE WHEN %(zone)s::text IN ('shed', 'halve', 'hold') THEN split_part(%(reason)s::text, ':', 1) END,
       (seen ->> 'commit')::float8, (seen ->> 'lag')::float8, (seen ->> 'waited')::float8, (seen ->> 'query')::float8,
       (seen ->> 'batch')::float8
FROM (SELECT %(sample)s::jsonb -> 'values' AS seen) AS sampled
ON CONFLICT (migration_id, at) DO UPDATE SET samples = p.samples + 1,
    share = (p.share * p.samples + excluded.share) / (p.samples + 1),
    slowed_by = coalesce(excluded.slowed_by, p.slowed_by), "commit" = greatest(p."commit", excluded."commit"),
    lag = greatest(p.lag, excluded.lag), waited = greatest(p.waited, excluded.waited),
    query = greatest(p.query, excluded.query), batch = greatest(p.batch, excluded.batch)
RETURNING samples = 1 AS begun;

-- name: thin_paces
-- locks: ROW EXCLUSIVE on tenantry.paces; every ten seconds, and writes nothing before there are more than `most` rows of a
-- migration: then each two neighbours become one.
WITH ranked AS (
    SELECT p.*, (row_number() OVER (ORDER BY at) - 1) / 2 AS pair FROM tenantry.paces AS p
    WHERE migration_id = %(migration)s
      AND (SELECT count(*) FROM tenantry.paces WHERE migration_id = %(migration)s) > %(most)s
), paired AS (
    SELECT min(at) AS at, sum(samples) AS samples, sum(share * samples) / sum(samples) AS share,
           max(slowed_by) AS slowed_by, max("commit") AS "commit", max(lag) AS lag, max(waited) AS waited,
           max(query) AS query, max(batch) AS batch
    FROM ranked GROUP BY pair
), gone AS (
    DELETE FROM tenantry.paces WHERE migration_id = %(migration)s
      AND at IN (SELECT at FROM ranked) AND at NOT IN (SELECT at FROM paired)
)
UPDATE tenantry.paces AS p SET samples = paired.samples, share = paired.share, slowed_by = paired.slowed_by,
    "commit" = paired."commit", lag = paired.lag, waited = paired.waited, query = paired.query, batch = paired.batch
FROM paired WHERE p.migration_id = %(migration)s AND p.at = paired.at;

-- name: paces
-- locks: ACCESS SHARE on tenantry.paces; a read.
SELECT at, share, slowed_by, "commit", lag, waited, query, batch FROM tenantry.paces
WHERE migration_id = %(migration)s ORDER BY at;

-- name: governor
-- locks: ACCESS SHARE on tenantry.governor; a read.
SELECT zone, share, reason, sample, extract(epoch FROM clock_timestamp() - at)::float8 AS age
FROM tenantry.governor WHERE migration_id = %(migration)s;

-- name: record_unreadable
-- locks: ROW EXCLUSIVE on tenantry.events. A row where nobody has said so before.
INSERT INTO tenantry.events (migration_id, actor, kind, message)
VALUES (%(migration)s, %(actor)s, 'unreadable', %(message)s)
ON CONFLICT (migration_id, split_part(message, ':', 1)) WHERE kind = 'unreadable' DO NOTHING
RETURNING id;

-- name: stages
-- locks: ACCESS SHARE on tenantry.stages; a read.
SELECT name, state, confirmed_by, confirmed_at, started_at, finished_at, closed_since, detail FROM tenantry.stages
WHERE migration_id = %(migration)s;

-- name: set_stage
-- locks: ROW EXCLUSIVE on tenantry.stages.
INSERT INTO tenantry.stages AS s (migration_id, name, state, started_at, finished_at, closed_since, detail)
VALUES (%(migration)s, %(name)s, %(state)s, CASE WHEN %(state)s = 'running' THEN clock_timestamp() END,
        CASE WHEN %(state)s = 'done' THEN clock_timestamp() END,
        CASE WHEN %(state)s = 'waiting' THEN clock_timestamp() END, %(detail)s)
ON CONFLICT (migration_id, name) DO UPDATE SET state = excluded.state, detail = excluded.detail,
    started_at = CASE WHEN excluded.state = 'open' THEN NULL ELSE coalesce(s.started_at, excluded.started_at) END,
    finished_at = excluded.finished_at,
    closed_since = CASE WHEN excluded.state IN ('waiting', 'running') THEN coalesce(s.closed_since, excluded.closed_since)
                   END;

-- name: confirm
-- locks: ROW EXCLUSIVE on tenantry.stages.
INSERT INTO tenantry.stages AS s (migration_id, name, state, confirmed_by, confirmed_at)
VALUES (%(migration)s, %(name)s, 'open', %(actor)s, clock_timestamp())
ON CONFLICT (migration_id, name) DO UPDATE SET confirmed_by = excluded.confirmed_by,
    confirmed_at = excluded.confirmed_at;

-- name: withdraw_confirmation
-- locks: ROW EXCLUSIVE on tenantry.stages.
UPDATE tenantry.stages SET confirmed_by = NULL, confirmed_at = NULL
WHERE migration_id = %(migration)s AND name = %(name)s;

-- name: record
-- locks: ROW EXCLUSIVE on tenantry.events.
INSERT INTO tenantry.events (migration_id, actor, kind, message, stage, about, delivery)
VALUES (%(migration)s, %(actor)s, %(kind)s, %(message)s, %(stage)s, %(about)s, %(delivery)s);

-- name: last_told
-- locks: ACCESS SHARE on tenantry.events; a read. The last entry of a kind, of a stage where one is given, unless one of
-- the kinds `over` came after it, of no stage or of the same.
SELECT about, extract(epoch FROM clock_timestamp() - at)::float8 AS age FROM tenantry.events AS e
WHERE migration_id = %(migration)s AND kind = %(kind)s AND coalesce(stage = %(stage)s::text, true) AND NOT EXISTS (
    SELECT FROM tenantry.events AS later
    WHERE later.migration_id = e.migration_id AND later.id > e.id AND later.kind = ANY (%(over)s)
      AND coalesce(later.stage = e.stage, true))
ORDER BY id DESC LIMIT 1;

-- name: held_told
-- locks: ACCESS SHARE on tenantry.events and tenantry.batches; a read. Whether a hold was told of and no batch of the job has
-- ended since: it is the same one.
SELECT EXISTS (
    SELECT FROM tenantry.events WHERE migration_id = %(migration)s AND kind = 'held' AND at > coalesce(
        (SELECT max(finished_at) FROM tenantry.batches WHERE job_id = %(job)s AND finished_at IS NOT NULL), '-infinity')
) AS "there";

-- name: next_due
-- locks: ACCESS SHARE on tenantry.events; a read. What is to go out next, and its age in seconds.
SELECT id, at, actor, kind, message, stage, about, extract(epoch FROM clock_timestamp() - at)::float8 AS age
FROM tenantry.events WHERE migration_id = %(migration)s AND delivery = 'due' ORDER BY id LIMIT 1;

-- name: settle_delivery
-- locks: ROW EXCLUSIVE on tenantry.events, and an entry's row that nobody else writes.
UPDATE tenantry.events SET delivery = %(delivery)s,
    delivery_error = CASE WHEN %(delivery)s::text <> 'sent' THEN coalesce(%(error)s, delivery_error) END,
    delivered_at = CASE WHEN %(delivery)s::text = 'sent' THEN clock_timestamp() END
WHERE id = %(event)s AND delivery = 'due';

-- name: outbox
-- locks: ACCESS SHARE on tenantry.events; a read.
SELECT count(*) FILTER (WHERE delivery = 'due') AS due, min(at) FILTER (WHERE delivery = 'due') AS since,
       count(*) FILTER (WHERE delivery = 'refused') AS refused, count(*) FILTER (WHERE delivery = 'given up') AS given_up,
       (array_agg(delivery_error ORDER BY id DESC) FILTER (WHERE delivery_error IS NOT NULL))[1] AS error
FROM tenantry.events WHERE migration_id = %(migration)s AND delivery IS NOT NULL;

-- name: begin_statement
-- locks: ROW EXCLUSIVE on tenantry.events.
INSERT INTO tenantry.events (migration_id, actor, kind, message, stage, statement, lock)
VALUES (%(migration)s, %(actor)s, 'statement', %(message)s, %(stage)s, %(text)s, %(lock)s)
RETURNING id;

-- name: end_statement
-- locks: ROW EXCLUSIVE on tenantry.events.
UPDATE tenantry.events
SET attempts = %(attempts)s, waited_ms = %(waited_ms)s, took_ms = %(took_ms)s, error = %(error)s
WHERE id = %(event)s;

-- name: trim_events
-- locks: ROW EXCLUSIVE on tenantry.events. All but the last `most` of a migration, and what is still to go out; the first of
-- them is found by its index.
DELETE FROM tenantry.events WHERE migration_id = %(migration)s AND delivery IS DISTINCT FROM 'due' AND id <= (
    SELECT id FROM tenantry.events WHERE migration_id = %(migration)s ORDER BY id DESC OFFSET %(most)s LIMIT 1);

-- name: events
-- locks: ACCESS SHARE on tenantry.events; a read.
SELECT at, actor, kind, message, stage, statement, lock, attempts, waited_ms, took_ms, error,
       about, delivery, delivered_at, delivery_error
FROM tenantry.events WHERE migration_id = %(migration)s ORDER BY id;

-- name: last_events
-- locks: ACCESS SHARE on tenantry.events; a read. When an entry of each kind was last written.
SELECT kind, max(at) AS at FROM tenantry.events WHERE migration_id = %(migration)s GROUP BY kind;

-- name: newest_events
-- locks: ACCESS SHARE on tenantry.events; a read of the end of its index, for a display that asks four times a second.
SELECT at, actor, kind, message, stage, statement, lock, attempts, waited_ms, took_ms, error
FROM tenantry.events WHERE migration_id = %(migration)s ORDER BY id DESC LIMIT %(most)s;
