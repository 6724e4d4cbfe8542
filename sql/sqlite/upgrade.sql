-- name: found
-- locks: none; a read of the schema. A ledger without a list of its versions is the first.
SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tenantry_migrations') AS "exists",
       EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'tenantry_version') AS versioned;

-- name: version
-- locks: none; a read.
SELECT max(version) AS version FROM tenantry_version;

-- name: alone
-- locks: none beside those of the transaction, which has the file's write lock.
SELECT 1;

-- name: to_2
-- locks: the file's write lock, for milliseconds: columns come into the schema alone, and the tables are empty.
ALTER TABLE tenantry_stages ADD COLUMN closed_since REAL;
ALTER TABLE tenantry_events ADD COLUMN about TEXT;
ALTER TABLE tenantry_events ADD COLUMN delivery TEXT CHECK (delivery IN ('due', 'sent', 'refused', 'given up'));
ALTER TABLE tenantry_events ADD COLUMN delivered_at REAL;
ALTER TABLE tenantry_events ADD COLUMN delivery_error TEXT;
CREATE INDEX tenantry_events_due ON tenantry_events (migration_id, id) WHERE delivery = 'due';
CREATE TABLE tenantry_paces (
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
CREATE TABLE tenantry_holds (
    id           INTEGER PRIMARY KEY,
    migration_id INTEGER NOT NULL,
    worker       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    since        REAL NOT NULL,
    until        REAL,
    gone         INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE tenantry_version (
    version INTEGER PRIMARY KEY,
    since   REAL NOT NULL,
    program TEXT NOT NULL
);

-- name: reached
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_version (version, since, program) VALUES (:version, :now, :program);

-- name: tell
-- locks: the file's write lock, for a row of each migration.
INSERT INTO tenantry_events (migration_id, at, actor, kind, message)
SELECT id, :now, :actor, 'upgrade', :message FROM tenantry_migrations;
