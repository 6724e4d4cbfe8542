-- The ledger as it was made before its versions were on record.
CREATE SCHEMA IF NOT EXISTS tenantry;
CREATE TABLE IF NOT EXISTS tenantry.migrations (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    state       text NOT NULL DEFAULT 'running'
                CHECK (state IN ('running', 'paused', 'cancelled', 'rolling back', 'complete')),
    tables      jsonb NOT NULL,
    original    jsonb NOT NULL,
    settings    jsonb NOT NULL,
    tuned       jsonb NOT NULL DEFAULT '{}',
    memory      jsonb NOT NULL DEFAULT '{}',
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
    rows         jsonb NOT NULL DEFAULT '{}',
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
    -- Of a statement that the controller ran: written before it, the figures and the error after it. One that has
    -- neither is running, or its controller died.
    stage        text,
    statement    text,
    lock         text,
    attempts     integer,
    waited_ms    double precision,
    took_ms      double precision,
    error        text
);
CREATE INDEX IF NOT EXISTS events_of_migration ON tenantry.events (migration_id, id);
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
