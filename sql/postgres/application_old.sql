-- The demo's application before it knows tenants: explicit columns, no tenant anywhere. Every statement is a
-- transaction of its own.

-- name: read_entity
-- locks: ACCESS SHARE on graph_entities.
SELECT properties FROM graph_entities WHERE id = %(id)s;

-- name: read_relation
-- locks: ACCESS SHARE on graph_relations.
SELECT source_id, target_id, properties, weight FROM graph_relations WHERE id = %(id)s;

-- name: read_neighbours
-- locks: ACCESS SHARE on both tables.
SELECT r.id, r.relation_type, e.id, e.entity_type, e.properties
FROM graph_relations AS r
JOIN graph_entities AS e ON e.id = r.target_id
WHERE r.source_id = %(id)s
LIMIT 20;

-- name: insert_entity
-- locks: ROW EXCLUSIVE on graph_entities.
INSERT INTO graph_entities (id, entity_type, properties)
VALUES (%(id)s, %(type)s, %(properties)s);

-- name: insert_relation
-- locks: ROW EXCLUSIVE on graph_relations; ROW SHARE on graph_entities, for the foreign keys.
INSERT INTO graph_relations (id, relation_type, source_id, target_id, properties, weight)
VALUES (%(id)s, %(type)s, %(source)s, %(target)s, %(properties)s, %(weight)s);

-- name: upsert_entity
-- locks: ROW EXCLUSIVE on graph_entities.
INSERT INTO graph_entities (id, entity_type, properties)
VALUES (%(id)s, %(type)s, %(properties)s)
ON CONFLICT (id) DO UPDATE
SET entity_type = excluded.entity_type, properties = excluded.properties, updated_at = CURRENT_TIMESTAMP;

-- name: update_entity
-- locks: ROW EXCLUSIVE on graph_entities.
UPDATE graph_entities SET properties = %(properties)s, updated_at = CURRENT_TIMESTAMP
WHERE id = %(id)s;

-- name: delete_entity
-- locks: ROW EXCLUSIVE on both tables: the foreign keys delete the relations. One statement says what goes:
-- its snapshot sees every relation of the entity, because only the connection that deletes adds any.
WITH gone AS (
  DELETE FROM graph_entities WHERE id = %(id)s RETURNING id
)
SELECT
  (SELECT count(*) FROM gone),
  ARRAY(SELECT r.id FROM graph_relations AS r WHERE r.source_id = %(id)s OR r.target_id = %(id)s);
