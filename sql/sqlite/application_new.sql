-- The demo's application on a file, as the operator deploys it at the stage `application`: it writes the tenant and asks
-- for it everywhere. Nothing in SQLite filters what it leaves out.

-- name: read_entity
-- locks: none; a read.
SELECT properties FROM entities WHERE id = :id AND tenant_id = :tenant;

-- name: read_relation
-- locks: none; a read.
SELECT source_id, target_id, properties, weight FROM relations WHERE id = :id AND tenant_id = :tenant;

-- name: read_neighbours
-- locks: none; a read.
SELECT r.id, r.relation_type, e.id, e.entity_type, e.properties
FROM relations AS r
JOIN entities AS e ON e.id = r.target_id AND e.tenant_id = r.tenant_id
WHERE r.source_id = :id AND r.tenant_id = :tenant
LIMIT 20;

-- name: insert_entity
-- locks: the file's write lock, for one row.
INSERT INTO entities (id, tenant_id, entity_type, properties) VALUES (:id, :tenant, :type, :properties);

-- name: insert_relation
-- locks: the file's write lock, for one row.
INSERT INTO relations (id, tenant_id, relation_type, source_id, target_id, properties, weight)
VALUES (:id, :tenant, :type, :source, :target, :properties, :weight);

-- name: upsert_entity
-- locks: the file's write lock, for one row. Where there is none to update, insert_entity follows in the same
-- transaction: ON CONFLICT (id, tenant_id) compiles only once `keys` is done, and this code runs before it too.
UPDATE entities SET entity_type = :type, properties = :properties, updated_at = CURRENT_TIMESTAMP
WHERE id = :id AND tenant_id = :tenant;

-- name: update_entity
-- locks: the file's write lock, for one row.
UPDATE entities SET properties = :properties, updated_at = CURRENT_TIMESTAMP WHERE id = :id AND tenant_id = :tenant;

-- name: relations_of_entity
-- locks: none; a read, in the transaction that deletes.
SELECT id FROM relations WHERE tenant_id = :tenant AND (source_id = :id OR target_id = :id);

-- name: delete_entity
-- locks: the file's write lock, for an entity and its relations: the foreign keys delete those.
DELETE FROM entities WHERE id = :id AND tenant_id = :tenant;
