-- name: found
-- locks: ACCESS SHARE on the catalog; a read. A ledger without a list of its versions is the first. It reads the rows of
-- pg_class: to_regclass may answer by what the session had seen before it waited to be alone.
SELECT coalesce(bool_or(c.relname = 'migrations'), false) AS "exists",
       coalesce(bool_or(c.relname = 'version'), false) AS versioned
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'tenantry' AND c.relname IN ('migrations', 'version');

-- name: version
-- locks: ACCESS SHARE on tenantry.version; a read.
SELECT max(version) AS version FROM tenantry.version;

-- name: alone
-- locks: an advisory lock until the transaction's end: two programs never make or upgrade a ledger at the same time.
SELECT pg_advisory_xact_lock(hashtextextended('tenantry ledger', 0));

-- name: to_2
-- locks: ACCESS EXCLUSIVE on tables of the ledger, in the order in which transactions of ours take them, for milliseconds:
-- workers and displays wait for it, the application never reads them. What is new can be read and written by whoever
-- could read and write the rest.
LOCK TABLE tenantry.migrations, tenantry.stages, tenantry.events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE tenantry.stages ADD COLUMN IF NOT EXISTS closed_since timestamptz;
ALTER TABLE tenantry.events ADD COLUMN IF NOT EXISTS about jsonb,
    ADD COLUMN IF NOT EXISTS delivery text CHECK (delivery IN ('due', 'sent', 'refused', 'given up')),
    ADD COLUMN IF NOT EXISTS delivered_at timestamptz,
    ADD COLUMN IF NOT EXISTS delivery_error text;
CREATE INDEX IF NOT EXISTS events_due ON tenantry.events (migration_id, id) WHERE delivery = 'due';
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
CREATE TABLE tenantry.version (
    version integer PRIMARY KEY,
    since   timestamptz NOT NULL DEFAULT clock_timestamp(),
    program text NOT NULL
);
DO $$
DECLARE
    given record;
BEGIN
    FOR given IN
        SELECT a.privilege_type AS privilege, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM pg_class AS c, aclexplode(c.relacl) AS a
        WHERE c.oid = 'tenantry.migrations'::regclass AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON tenantry.paces, tenantry.holds, tenantry.version TO %s', given.privilege, given.role);
    END LOOP;
END
$$;

-- name: reached
-- locks: ROW EXCLUSIVE on tenantry.version.
INSERT INTO tenantry.version (version, program) VALUES (%(version)s, %(program)s);

-- name: tell
-- locks: ROW EXCLUSIVE on tenantry.events.
INSERT INTO tenantry.events (migration_id, actor, kind, message)
SELECT id, %(actor)s, 'upgrade', %(message)s FROM tenantry.migrations;
