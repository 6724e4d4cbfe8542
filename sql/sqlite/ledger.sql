-- The ledger in a SQLite file: the same tables as in PostgreSQL's schema `tenantry`, with the prefix `tenantry_`, for a
-- file has no schemas. Each statement has the name that it has there, and answers with the same columns; `now` is
-- always given, the Unix time in seconds, as which all times are kept.

-- name: create
-- locks: the file's write lock, for its own empty tables: milliseconds.
CREATE TABLE IF NOT EXISTS tenantry_migrations (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL DEFAULT 'running'
                CHECK (state IN ('running', 'paused', 'cancelled', 'rolling back', 'complete')),
    tables      TEXT NOT NULL,
    original    TEXT NOT NULL,
    settings    TEXT NOT NULL,
    tuned       TEXT NOT NULL DEFAULT '{{}}',
    memory      TEXT NOT NULL DEFAULT '{{}}',
    held        TEXT,
    started_at  REAL NOT NULL,
    finished_at REAL
);
CREATE TABLE IF NOT EXISTS tenantry_stages (
    migration_id INTEGER NOT NULL,
    name         TEXT NOT NULL,
    state        TEXT NOT NULL CHECK (state IN ('open', 'running', 'waiting', 'done', 'failed')),
    confirmed_by TEXT,
    confirmed_at REAL,
    started_at   REAL,
    finished_at  REAL,
    detail       TEXT,
    closed_since REAL,
    PRIMARY KEY (migration_id, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenantry_jobs (
    id           INTEGER PRIMARY KEY,
    migration_id INTEGER NOT NULL,
    table_name   TEXT NOT NULL,
    part         TEXT NOT NULL,
    kind         TEXT NOT NULL CHECK (kind IN ('fill', 'assign', 'reset', 'copy')),
    state        TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'complete')),
    spec         TEXT NOT NULL,
    last_key     TEXT,
    planned_to   TEXT,
    planned      INTEGER NOT NULL DEFAULT 0,
    batch_rows   INTEGER NOT NULL,
    rows_total   INTEGER NOT NULL,
    why          TEXT NOT NULL,
    sweeps       INTEGER NOT NULL DEFAULT 0,
    swept_from   INTEGER,
    started_at   REAL NOT NULL,
    finished_at  REAL,
    reason       TEXT,
    counted_to   INTEGER NOT NULL DEFAULT 0,
    rows_done    INTEGER NOT NULL DEFAULT 0,
    done         INTEGER NOT NULL DEFAULT 0,
    split        INTEGER NOT NULL DEFAULT 0,
    quarantined  INTEGER NOT NULL DEFAULT 0,
    held_seconds REAL NOT NULL DEFAULT 0,
    UNIQUE (migration_id, table_name, part, kind)
);
CREATE TABLE IF NOT EXISTS tenantry_batches (
    id            INTEGER PRIMARY KEY,
    job_id        INTEGER NOT NULL,
    origin        TEXT NOT NULL CHECK (origin IN ('plan', 'rest', 'sweep')),
    split_from    INTEGER,
    by            TEXT NOT NULL CHECK (by IN ('key', 'page')),
    lower         TEXT,
    upper         TEXT NOT NULL,
    stripe        INTEGER,
    state         TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'split', 'quarantined')),
    created_at    REAL NOT NULL,
    rung_at       REAL,
    rings         INTEGER NOT NULL DEFAULT 0,
    begun_at      REAL,
    lost          INTEGER NOT NULL DEFAULT 0,
    not_before    REAL,
    waiting_since REAL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    failed_at     REAL,
    sqlstate      TEXT,
    error         TEXT,
    rows          INTEGER,
    duration_ms   REAL,
    finished_at   REAL
);
CREATE INDEX IF NOT EXISTS tenantry_batches_pending ON tenantry_batches (job_id, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS tenantry_batches_of_job ON tenantry_batches (job_id, id);
CREATE INDEX IF NOT EXISTS tenantry_batches_finished ON tenantry_batches (job_id, finished_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS tenantry_batches_failed ON tenantry_batches (job_id, failed_at)
    WHERE failed_at IS NOT NULL AND finished_at IS NULL;
CREATE INDEX IF NOT EXISTS tenantry_batches_split ON tenantry_batches (split_from) WHERE split_from IS NOT NULL;
CREATE TABLE IF NOT EXISTS tenantry_quarantine (
    id         INTEGER PRIMARY KEY,
    job_id     INTEGER NOT NULL,
    batch_id   INTEGER,
    key        TEXT NOT NULL,
    sqlstate   TEXT NOT NULL,
    message    TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (job_id, key)
);
CREATE TABLE IF NOT EXISTS tenantry_events (
    id           INTEGER PRIMARY KEY,
    migration_id INTEGER NOT NULL,
    at           REAL NOT NULL,
    actor        TEXT NOT NULL,
    kind         TEXT NOT NULL,
    message      TEXT NOT NULL,
    stage        TEXT,
    statement    TEXT,
    lock         TEXT,
    attempts     INTEGER,
    waited_ms    REAL,
    took_ms      REAL,
    error        TEXT,
    about          TEXT,
    delivery       TEXT CHECK (delivery IN ('due', 'sent', 'refused', 'given up')),
    delivered_at   REAL,
    delivery_error TEXT
);
CREATE INDEX IF NOT EXISTS tenantry_events_of_migration ON tenantry_events (migration_id, id);
CREATE INDEX IF NOT EXISTS tenantry_events_due ON tenantry_events (migration_id, id) WHERE delivery = 'due';
CREATE TABLE IF NOT EXISTS tenantry_governor (
    migration_id INTEGER PRIMARY KEY,
    at           REAL NOT NULL,
    zone         TEXT NOT NULL,
    share        REAL NOT NULL,
    reason       TEXT NOT NULL,
    sample       TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS tenantry_paces (
    migration_id INTEGER NOT NULL,
    at           REAL NOT NULL,
    samples      INTEGER NOT NULL DEFAULT 1,
    share        REAL NOT NULL,
    slowed_by    TEXT,
    "commit"     REAL,
    lag          REAL,
    waited       REAL,
    query        REAL,
    batch        REAL,
    PRIMARY KEY (migration_id, at)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenantry_holds (
    id           INTEGER PRIMARY KEY,
    migration_id INTEGER NOT NULL,
    worker       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    since        REAL NOT NULL,
    until        REAL,
    gone         INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS tenantry_assignments (
    id           INTEGER PRIMARY KEY,
    migration_id INTEGER NOT NULL,
    to_tenant    TEXT NOT NULL,
    from_tenant  TEXT NOT NULL,
    condition    TEXT,
    tables       TEXT NOT NULL,
    undoes       INTEGER,
    state        TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'undone')),
    rows         TEXT NOT NULL DEFAULT '{{}}',
    before       TEXT NOT NULL,
    actor        TEXT NOT NULL,
    started_at   REAL NOT NULL,
    finished_at  REAL
);
CREATE TABLE IF NOT EXISTS tenantry_assigned (
    assignment INTEGER NOT NULL,
    of_table   TEXT NOT NULL,
    key        TEXT NOT NULL,
    PRIMARY KEY (assignment, of_table, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenantry_version (
    version INTEGER PRIMARY KEY,
    since   REAL NOT NULL,
    program TEXT NOT NULL
);

-- name: exists
-- locks: none; a read of the schema.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tenantry_migrations') AS "exists";

-- name: drop
-- locks: the file's write lock. The ledger's tables are small: what filled them was deleted with its migration.
DROP TABLE IF EXISTS tenantry_enabled;
DROP TABLE IF EXISTS tenantry_version;
DROP TABLE IF EXISTS tenantry_assigned;
DROP TABLE IF EXISTS tenantry_assignments;
DROP TABLE IF EXISTS tenantry_holds;
DROP TABLE IF EXISTS tenantry_paces;
DROP TABLE IF EXISTS tenantry_governor;
DROP TABLE IF EXISTS tenantry_events;
DROP TABLE IF EXISTS tenantry_quarantine;
DROP TABLE IF EXISTS tenantry_batches;
DROP TABLE IF EXISTS tenantry_jobs;
DROP TABLE IF EXISTS tenantry_stages;
DROP TABLE IF EXISTS tenantry_migrations;

-- name: begin_migration
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_migrations (name, tables, original, settings, started_at)
VALUES (:name, :tables, :original, :settings, :now)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings,
    state = CASE WHEN state IN ('complete', 'paused', 'cancelled') THEN state ELSE 'running' END;

-- name: migration
-- locks: none; a read.
SELECT id, name, state, tables, original, settings, tuned, held, started_at, finished_at
FROM tenantry_migrations WHERE name = :name;

-- name: garbled
-- locks: none; a read, once SQLite has refused another statement.
SELECT name, CASE WHEN NOT json_valid(settings) THEN 'settings' WHEN NOT json_valid(memory) THEN 'memory' ELSE 'held' END
    AS part
FROM tenantry_migrations WHERE NOT json_valid(settings) OR NOT json_valid(memory) OR NOT json_valid(held);

-- name: wait_briefly
-- locks: none. There is one writer at a time: the transaction that this is sent in is it already.
SELECT 1;

-- name: hold_migration
-- locks: none beside those of the transaction, which has the file's write lock.
SELECT 1 FROM tenantry_migrations WHERE name = :name;

-- name: tune
-- locks: the file's write lock, for one row.
UPDATE tenantry_migrations SET tuned = :tuned, settings = :settings WHERE id = :migration;

-- name: state
-- locks: none; a read.
SELECT state FROM tenantry_migrations WHERE id = :migration;

-- name: workers
-- locks: none; a read.
SELECT json_extract(settings, '$.workers') AS workers FROM tenantry_migrations WHERE name = :name;

-- name: set_state
-- locks: the file's write lock, for one row.
UPDATE tenantry_migrations SET state = :state, finished_at = CASE WHEN :state = 'complete' THEN :now END
WHERE id = :migration;

-- name: keep_tables
-- locks: the file's write lock, for one row, and writes nothing as a rule.
UPDATE tenantry_migrations SET tables = :tables WHERE id = :migration AND tables <> :tables;

-- name: forget_migration
-- locks: the file's write lock, for the migration's rows: `forget` has deleted its batches before.
DELETE FROM tenantry_assigned WHERE assignment IN (
    SELECT id FROM tenantry_assignments WHERE migration_id = :migration);
DELETE FROM tenantry_assignments WHERE migration_id = :migration;
DELETE FROM tenantry_holds WHERE migration_id = :migration;
DELETE FROM tenantry_paces WHERE migration_id = :migration;
DELETE FROM tenantry_governor WHERE migration_id = :migration;
DELETE FROM tenantry_events WHERE migration_id = :migration;
DELETE FROM tenantry_quarantine WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration);
DELETE FROM tenantry_batches WHERE job_id IN (SELECT id FROM tenantry_jobs WHERE migration_id = :migration);
DELETE FROM tenantry_jobs WHERE migration_id = :migration;
DELETE FROM tenantry_stages WHERE migration_id = :migration;
DELETE FROM tenantry_migrations WHERE id = :migration;

-- name: count_migrations
-- locks: none; a read.
SELECT count(*) AS count FROM tenantry_migrations;

-- name: current
-- locks: none; a read. No row where no batch of the job may go.
SELECT m.id, m.name, m.settings, j.started_at AS job_started_at
FROM tenantry_jobs AS j JOIN tenantry_migrations AS m ON m.id = j.migration_id
WHERE j.id = :job AND j.state = 'running' AND m.state = CASE j.kind WHEN 'reset' THEN 'rolling back' ELSE 'running' END;

-- name: remember
-- locks: the file's write lock, for one row.
UPDATE tenantry_migrations SET memory = json_patch(memory, json_object(:key, NULL)) WHERE id = :migration;
UPDATE tenantry_migrations SET memory = json_insert(memory, '$.' || json_quote(:key), json(:value))
WHERE id = :migration;

-- name: recall
-- locks: none; a read.
SELECT memory -> ('$.' || json_quote(:key)) AS value FROM tenantry_migrations WHERE id = :migration;

-- name: set_held
-- locks: the file's write lock, for two rows; written when the reason changes, not per sample. One process works at a file,
-- so that what another has left is of one that is gone.
UPDATE tenantry_holds SET until = :now, gone = worker <> :worker WHERE migration_id = :migration AND until IS NULL;
INSERT INTO tenantry_holds (migration_id, worker, reason, since)
SELECT :migration, :worker, :reason, :now WHERE :reason IS NOT NULL;
UPDATE tenantry_migrations
SET held = CASE WHEN :reason IS NULL THEN NULL
    ELSE json_object(:worker, json_object('reason', :reason, 'since', :now)) END
WHERE id = :migration AND (:reason IS NOT NULL OR held IS NOT NULL);

-- name: clear_held
-- locks: the file's write lock, for two rows where there is something to clear.
UPDATE tenantry_holds SET until = :now WHERE migration_id = :migration AND until IS NULL;
UPDATE tenantry_migrations SET held = NULL WHERE id = :migration AND held IS NOT NULL;

-- name: trim_holds
-- locks: the file's write lock, for what is past the last `most` of them.
DELETE FROM tenantry_holds WHERE migration_id = :migration AND id <= (
    SELECT id FROM tenantry_holds WHERE migration_id = :migration ORDER BY id DESC LIMIT 1 OFFSET :most);

-- name: holds
-- locks: none; a read.
SELECT worker, reason, since, until, gone FROM tenantry_holds WHERE migration_id = :migration ORDER BY id;

-- name: holding
-- locks: none; a read.
SELECT h.key AS worker, json_extract(h.value, '$.reason') AS reason, json_extract(h.value, '$.since') AS since
FROM tenantry_migrations AS m, json_each(m.held) AS h WHERE m.id = :migration ORDER BY since, worker;

-- name: everybody_holds
-- locks: none; a read.
SELECT held IS NOT NULL AS "all" FROM tenantry_migrations WHERE id = :migration;

-- name: show_governor
-- locks: the file's write lock, for two rows; beside a batch, once a second.
INSERT INTO tenantry_governor (migration_id, at, zone, share, reason, sample)
VALUES (:migration, :now, :zone, :share, :reason, :sample)
ON CONFLICT (migration_id) DO UPDATE SET at = excluded.at, zone = excluded.zone, share = excluded.share,
    reason = excluded.reason, sample = excluded.sample;
INSERT INTO tenantry_paces AS p (migration_id, at, share, slowed_by, "commit", lag, waited, query, batch)
VALUES (:migration, CAST(:now / 10 AS INTEGER) * 10.0, :share,
    CASE WHEN :zone IN ('shed', 'halve', 'hold') THEN substr(:reason, 1, instr(:reason || ':', ':') - 1) END,
    :sample ->> '$.values.commit', :sample ->> '$.values.lag', :sample ->> '$.values.waited',
    :sample ->> '$.values.query', :sample ->> '$.values.batch')
ON CONFLICT (migration_id, at) DO UPDATE SET samples = p.samples + 1,
    share = (p.share * p.samples + excluded.share) / (p.samples + 1),
    slowed_by = coalesce(excluded.slowed_by, p.slowed_by),
    "commit" = coalesce(max(p."commit", excluded."commit"), p."commit", excluded."commit"),
    lag = coalesce(max(p.lag, excluded.lag), p.lag, excluded.lag),
    waited = coalesce(max(p.waited, excluded.waited), p.waited, excluded.waited),
    query = coalesce(max(p.query, excluded.query), p.query, excluded.query),
    batch = coalesce(max(p.batch, excluded.batch), p.batch, excluded.batch)
RETURNING samples = 1 AS begun;

-- name: thin_paces
-- locks: the file's write lock, every ten seconds; it writes nothing before there are more than `most` rows of a migration.
UPDATE tenantry_paces AS p SET samples = paired.samples, share = paired.share, slowed_by = paired.slowed_by,
    "commit" = paired."commit", lag = paired.lag, waited = paired.waited, query = paired.query, batch = paired.batch
FROM (
    SELECT min(at) AS at, sum(samples) AS samples, sum(share * samples) / sum(samples) AS share,
           max(slowed_by) AS slowed_by, max("commit") AS "commit", max(lag) AS lag, max(waited) AS waited,
           max(query) AS query, max(batch) AS batch
    FROM (SELECT *, (row_number() OVER (ORDER BY at) - 1) / 2 AS pair FROM tenantry_paces
          WHERE migration_id = :migration) AS ranked
    GROUP BY pair
) AS paired
WHERE p.migration_id = :migration AND p.at = paired.at
  AND (SELECT count(*) FROM tenantry_paces WHERE migration_id = :migration) > :most;
DELETE FROM tenantry_paces WHERE migration_id = :migration
  AND (SELECT count(*) FROM tenantry_paces WHERE migration_id = :migration) > :most
  AND at IN (SELECT at FROM (SELECT at, row_number() OVER (ORDER BY at) AS place FROM tenantry_paces
                             WHERE migration_id = :migration) AS ranked WHERE place % 2 = 0);

-- name: paces
-- locks: none; a read.
SELECT at, share, slowed_by, "commit", lag, waited, query, batch FROM tenantry_paces
WHERE migration_id = :migration ORDER BY at;

-- name: governor
-- locks: none; a read.
SELECT zone, share, reason, sample, :now - at AS age FROM tenantry_governor WHERE migration_id = :migration;

-- name: record_unreadable
-- locks: the file's write lock, for one row where nobody has said so before.
INSERT INTO tenantry_events (migration_id, at, actor, kind, message)
SELECT :migration, :now, :actor, 'unreadable', :message
WHERE NOT EXISTS (
    SELECT 1 FROM tenantry_events WHERE migration_id = :migration AND kind = 'unreadable'
    AND substr(message, 1, instr(message, ':')) = substr(:message, 1, instr(:message, ':')))
RETURNING id;

-- name: stages
-- locks: none; a read.
SELECT name, state, confirmed_by, confirmed_at, started_at, finished_at, closed_since, detail FROM tenantry_stages
WHERE migration_id = :migration;

-- name: set_stage
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_stages AS s (migration_id, name, state, started_at, finished_at, closed_since, detail)
VALUES (:migration, :name, :state, CASE WHEN :state = 'running' THEN :now END,
        CASE WHEN :state = 'done' THEN :now END, CASE WHEN :state = 'waiting' THEN :now END, :detail)
ON CONFLICT (migration_id, name) DO UPDATE SET state = excluded.state, detail = excluded.detail,
    started_at = CASE WHEN excluded.state = 'open' THEN NULL ELSE coalesce(s.started_at, excluded.started_at) END,
    finished_at = excluded.finished_at,
    closed_since = CASE WHEN excluded.state IN ('waiting', 'running') THEN coalesce(s.closed_since, excluded.closed_since)
                   END;

-- name: confirm
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_stages (migration_id, name, state, confirmed_by, confirmed_at)
VALUES (:migration, :name, 'open', :actor, :now)
ON CONFLICT (migration_id, name) DO UPDATE SET confirmed_by = excluded.confirmed_by,
    confirmed_at = excluded.confirmed_at;

-- name: withdraw_confirmation
-- locks: the file's write lock, for one row.
UPDATE tenantry_stages SET confirmed_by = NULL, confirmed_at = NULL WHERE migration_id = :migration AND name = :name;

-- name: record
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_events (migration_id, at, actor, kind, message, stage, about, delivery)
VALUES (:migration, :now, :actor, :kind, :message, :stage, :about, :delivery);

-- name: last_told
-- locks: none; a read.
SELECT about, :now - at AS age FROM tenantry_events AS e
WHERE migration_id = :migration AND kind = :kind AND coalesce(stage = :stage, true) AND NOT EXISTS (
    SELECT 1 FROM tenantry_events AS later
    WHERE later.migration_id = e.migration_id AND later.id > e.id
      AND later.kind IN (SELECT value FROM json_each(:over)) AND coalesce(later.stage = e.stage, true))
ORDER BY id DESC LIMIT 1;

-- name: held_told
-- locks: none; a read.
SELECT EXISTS (
    SELECT 1 FROM tenantry_events WHERE migration_id = :migration AND kind = 'held' AND at > coalesce(
        (SELECT max(finished_at) FROM tenantry_batches WHERE job_id = :job AND finished_at IS NOT NULL), 0)
) AS "there";

-- name: next_due
-- locks: none; a read.
SELECT id, at, actor, kind, message, stage, about, :now - at AS age
FROM tenantry_events WHERE migration_id = :migration AND delivery = 'due' ORDER BY id LIMIT 1;

-- name: settle_delivery
-- locks: the file's write lock, for one row.
UPDATE tenantry_events SET delivery = :delivery,
    delivery_error = CASE WHEN :delivery <> 'sent' THEN coalesce(:error, delivery_error) END,
    delivered_at = CASE WHEN :delivery = 'sent' THEN :now END
WHERE id = :event AND delivery = 'due';

-- name: outbox
-- locks: none; a read.
SELECT count(*) FILTER (WHERE delivery = 'due') AS due, min(at) FILTER (WHERE delivery = 'due') AS since,
       count(*) FILTER (WHERE delivery = 'refused') AS refused, count(*) FILTER (WHERE delivery = 'given up') AS given_up,
       (SELECT delivery_error FROM tenantry_events
        WHERE migration_id = :migration AND delivery_error IS NOT NULL ORDER BY id DESC LIMIT 1) AS error
FROM tenantry_events WHERE migration_id = :migration AND delivery IS NOT NULL;

-- name: begin_statement
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_events (migration_id, at, actor, kind, message, stage, statement, lock)
VALUES (:migration, :now, :actor, 'statement', :message, :stage, :text, :lock)
RETURNING id;

-- name: end_statement
-- locks: the file's write lock, for one row.
UPDATE tenantry_events SET attempts = :attempts, waited_ms = :waited_ms, took_ms = :took_ms, error = :error
WHERE id = :event;

-- name: trim_events
-- locks: the file's write lock, for what is past the last `most` entries and has not still to go out.
DELETE FROM tenantry_events WHERE migration_id = :migration AND delivery IS NOT 'due' AND id <= (
    SELECT id FROM tenantry_events WHERE migration_id = :migration ORDER BY id DESC LIMIT 1 OFFSET :most);

-- name: events
-- locks: none; a read.
SELECT at, actor, kind, message, stage, statement, lock, attempts, waited_ms, took_ms, error,
       about, delivery, delivered_at, delivery_error
FROM tenantry_events WHERE migration_id = :migration ORDER BY id;

-- name: last_events
-- locks: none; a read. When an entry of each kind was last written.
SELECT kind, max(at) AS at FROM tenantry_events WHERE migration_id = :migration GROUP BY kind;

-- name: newest_events
-- locks: none; a read of the end of its index.
SELECT at, actor, kind, message, stage, statement, lock, attempts, waited_ms, took_ms, error
FROM tenantry_events WHERE migration_id = :migration ORDER BY id DESC LIMIT :most;
