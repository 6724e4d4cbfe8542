-- The demo's application on a file, before it knows tenants: explicit columns, no tenant anywhere. Foreign keys are on,
-- in each of its connections.

-- name: read_entity
-- locks: none; a read.
SELECT properties FROM entities WHERE id = :id;

-- name: read_relation
-- locks: none; a read.
SELECT source_id, target_id, properties, weight FROM relations WHERE id = :id;

-- name: read_neighbours
-- locks: none; a read.
SELECT r.id, r.relation_type, e.id, e.entity_type, e.properties
FROM relations AS r
JOIN entities AS e ON e.id = r.target_id
WHERE r.source_id = :id
LIMIT 20;

-- name: insert_entity
-- locks: the file's write lock, for one row.
INSERT INTO entities (id, entity_type, properties) VALUES (:id, :type, :properties);

-- name: insert_relation
-- locks: the file's write lock, for one row.
INSERT INTO relations (id, relation_type, source_id, target_id, properties, weight)
VALUES (:id, :type, :source, :target, :properties, :weight);

-- name: upsert_entity
-- locks: the file's write lock, for one row.
INSERT INTO entities (id, entity_type, properties) VALUES (:id, :type, :properties)
ON CONFLICT (id) DO UPDATE
SET entity_type = excluded.entity_type, properties = excluded.properties, updated_at = CURRENT_TIMESTAMP;

-- name: update_entity
-- locks: the file's write lock, for one row.
UPDATE entities SET properties = :properties, updated_at = CURRENT_TIMESTAMP WHERE id = :id;

-- name: relations_of_entity
-- locks: none; a read, in the transaction that deletes.
SELECT id FROM relations WHERE source_id = :id OR target_id = :id;

-- name: delete_entity
-- locks: the file's write lock, for an entity and its relations: the foreign keys delete those.
DELETE FROM entities WHERE id = :id;
