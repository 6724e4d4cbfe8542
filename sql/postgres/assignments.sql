-- Rows that go from one tenant to another: the record of it, and what is looked at beforehand.

-- name: unfinished
-- locks: ACCESS SHARE on tenantry.assignments; a read.
SELECT id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at
FROM tenantry.assignments WHERE migration_id = %(migration)s AND state = 'running';

-- name: all
-- locks: ACCESS SHARE on tenantry.assignments; a read.
SELECT id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at
FROM tenantry.assignments WHERE migration_id = %(migration)s ORDER BY id;

-- name: begin
-- locks: ROW EXCLUSIVE on tenantry.assignments.
INSERT INTO tenantry.assignments (migration_id, to_tenant, from_tenant, condition, tables, undoes, before, actor)
VALUES (%(migration)s, %(to)s, %(from)s, %(condition)s, %(tables)s, %(undoes)s, %(before)s, %(actor)s)
RETURNING id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at;

-- name: end
-- locks: ROW EXCLUSIVE on tenantry.assignments. One that takes another back ends that too.
UPDATE tenantry.assignments SET
    state = CASE id WHEN %(assignment)s THEN 'done' ELSE 'undone' END,
    finished_at = CASE id WHEN %(assignment)s THEN clock_timestamp() ELSE finished_at END,
    rows = CASE id WHEN %(assignment)s THEN (
        SELECT coalesce(jsonb_object_agg(noted.of_table, noted.rows), '{{}}') FROM (
            SELECT of_table, count(*) AS rows FROM tenantry.assigned WHERE assignment = %(assignment)s GROUP BY of_table
        ) AS noted) ELSE rows END
WHERE id = %(assignment)s OR id = (SELECT undoes FROM tenantry.assignments WHERE id = %(assignment)s)
RETURNING id, rows;

-- name: now
-- locks: none. What is to be over before nobody can have missed what is committed by now.
SELECT pg_current_xact_id()::text;

-- name: seen
-- locks: ACCESS SHARE on system views; a read. Whether every transaction that was under way then has ended.
SELECT %(moment)s::xid8 < pg_snapshot_xmin(pg_current_snapshot())
  AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datname = current_database()
      AND a.pid <> pg_backend_pid() AND age(a.backend_xmin) >= age(%(moment)s::xid8::xid));

-- name: condition
-- locks: ACCESS SHARE on {table}, and a view of ours that is rolled back with its transaction: the operator's condition, as
-- the server reads it. Nothing of it is run.
CREATE VIEW tenantry.condition AS SELECT 1 AS one FROM {table} AS t WHERE coalesce(({where}), false);

-- name: volatile
-- locks: ACCESS SHARE on the catalog; a read. The functions in that condition that may say something else each time; no table
-- tells of those that come with the server, but the view's own tree.
SELECT DISTINCT p.oid::regprocedure::text
FROM pg_rewrite AS r
CROSS JOIN regexp_matches(r.ev_action::text, ':(?:funcid|opfuncid) (\d+)', 'g') AS called (oids)
JOIN pg_proc AS p ON p.oid = called.oids[1]::oid
WHERE r.ev_class = 'tenantry.condition'::regclass AND p.provolatile = 'v'
ORDER BY 1;

-- name: count
-- locks: ACCESS SHARE on the tables of the plan; a read.
SELECT count(*) FROM ({rows}) AS rows;

-- name: torn
-- locks: ACCESS SHARE on both tables; a read. Rows whose end stays with a tenant that they leave, or leaves one that they stay with.
SELECT count(*), min(t.{example}::text) FROM {child} AS t JOIN {parent} AS p ON {pairs}
WHERE t.{column} = {from} AND p.{column} = {from}
  AND EXISTS (SELECT FROM ({children}) AS c WHERE {child_same}) <> EXISTS (SELECT FROM ({parents}) AS c WHERE {parent_same});

-- name: taken
-- locks: ACCESS SHARE on {table}; a read. Keys among the rows to move that the other tenant has already.
SELECT count(*), min({example}::text) FROM ({rows}) AS r
WHERE EXISTS (SELECT FROM {table} AS there WHERE {same} AND there.{column} = {to});

-- name: circling
-- locks: ACCESS SHARE on the tables of the plan; a read. Rows of a tree that none of its topmost rows lead to.
WITH RECURSIVE going AS MATERIALIZED ({rows}), down (of, at) AS (
    SELECT c.{of}, c.{at} FROM going AS c WHERE NOT EXISTS (
        SELECT FROM going AS up WHERE ({named}) AND (up.{of}, up.{at}) IS DISTINCT FROM (c.{of}, c.{at}))
    UNION
    SELECT c.{of}, c.{at} FROM down JOIN going AS up ON up.{of} = down.of AND up.{at} = down.at JOIN going AS c ON ({named})
)
SELECT count(*), min(going.{example}::text) FROM going
WHERE NOT EXISTS (SELECT FROM down WHERE down.of = going.{of} AND down.at = going.{at});

-- name: analyze
-- locks: SHARE UPDATE EXCLUSIVE on {table}, which no reader or writer waits for; a read of a sample of its rows.
ANALYZE {table};

-- name: hidden
-- locks: ACCESS SHARE on the catalog; a read. Tables of which row-level security would hide rows from this role.
SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE row_security_active(name::regclass) ORDER BY 1;
