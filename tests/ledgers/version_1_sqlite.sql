-- The ledger as it was made before its versions were on record.
CREATE TABLE IF NOT EXISTS tenantry_migrations (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    state       TEXT NOT NULL DEFAULT 'running'
                CHECK (state IN ('running', 'paused', 'cancelled', 'rolling back', 'complete')),
    tables      TEXT NOT NULL,
    original    TEXT NOT NULL,
    settings    TEXT NOT NULL,
    tuned       TEXT NOT NULL DEFAULT '{}',
    memory      TEXT NOT NULL DEFAULT '{}',
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
    error        TEXT
);
CREATE INDEX IF NOT EXISTS tenantry_events_of_migration ON tenantry_events (migration_id, id);
CREATE TABLE IF NOT EXISTS tenantry_governor (
    migration_id INTEGER PRIMARY KEY,
    at           REAL NOT NULL,
    zone         TEXT NOT NULL,
    share        REAL NOT NULL,
    reason       TEXT NOT NULL,
    sample       TEXT NOT NULL
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
    rows         TEXT NOT NULL DEFAULT '{}',
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
