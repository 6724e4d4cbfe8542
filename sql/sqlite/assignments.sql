-- Rows that go from one tenant to another. The record of it has the names that it has for PostgreSQL.

-- name: unfinished
-- locks: none; a read.
SELECT id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at
FROM tenantry_assignments WHERE migration_id = :migration AND state = 'running';

-- name: all
-- locks: none; a read.
SELECT id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at
FROM tenantry_assignments WHERE migration_id = :migration ORDER BY id;

-- name: begin
-- locks: the file's write lock, for one row.
INSERT INTO tenantry_assignments (migration_id, to_tenant, from_tenant, condition, tables, undoes, before, actor, started_at)
VALUES (:migration, :to, :from, :condition, :tables, :undoes, :before, :actor, :now)
RETURNING id, to_tenant, from_tenant, condition, tables, undoes, state, rows, before, actor, started_at, finished_at;

-- name: end
-- locks: the file's write lock, for one row or two. One that takes another back ends that too.
UPDATE tenantry_assignments SET
    state = CASE id WHEN :assignment THEN 'done' ELSE 'undone' END,
    finished_at = CASE id WHEN :assignment THEN :now ELSE finished_at END,
    rows = CASE id WHEN :assignment THEN (
        SELECT json_group_object(noted.of_table, noted.rows) FROM (
            SELECT of_table, count(*) AS rows FROM tenantry_assigned WHERE assignment = :assignment GROUP BY of_table
        ) AS noted) ELSE rows END
WHERE id = :assignment OR id = (SELECT undoes FROM tenantry_assignments WHERE id = :assignment)
RETURNING id, rows;
