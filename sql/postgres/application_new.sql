-- The demo's application as the operator deploys it at the stage `application`: every operation is a
-- transaction that first says for which tenant it works, writes the tenant, and asks for it everywhere. It
-- leans on row-level security for nothing, so it runs before that is switched on as well as after.

-- name: scope
-- locks: none. The setting ends with the transaction, so a pooled session carries no tenant over.
SELECT set_config('app.current_tenant_id', %(tenant)s, true);

-- name: read_entity
-- locks: ACCESS SHARE on graph_entities.
SELECT properties FROM graph_entities WHERE id = %(id)s AND tenant_id = %(tenant)s;

-- name: read_relation
-- locks: ACCESS SHARE on graph_relations.
SELECT source_id, target_id, properties, weight FROM graph_relations
WHERE id = %(id)s AND tenant_id = %(tenant)s;

-- name: read_neighbours
-- locks: ACCESS SHARE on both tables.
SELECT r.id, r.relation_type, e.id, e.entity_type, e.properties
FROM graph_relations AS r
JOIN graph_entities AS e ON e.id = r.target_id AND e.tenant_id = r.tenant_id
WHERE r.source_id = %(id)s AND r.tenant_id = %(tenant)s
LIMIT 20;

-- name: insert_entity
-- locks: ROW EXCLUSIVE on graph_entities.
INSERT INTO graph_entities (id, tenant_id, entity_type, properties)
VALUES (%(id)s, %(tenant)s, %(type)s, %(properties)s);

-- name: insert_relation
-- locks: ROW EXCLUSIVE on graph_relations; ROW SHARE on graph_entities, for the foreign keys.
INSERT INTO graph_relations (id, tenant_id, relation_type, source_id, target_id, properties, weight)
VALUES (%(id)s, %(tenant)s, %(type)s, %(source)s, %(target)s, %(properties)s, %(weight)s);

-- name: upsert_entity
-- locks: ROW EXCLUSIVE on graph_entities.
INSERT INTO graph_entities (id, tenant_id, entity_type, properties)
VALUES (%(id)s, %(tenant)s, %(type)s, %(properties)s)
ON CONFLICT (id, tenant_id) DO UPDATE
SET entity_type = excluded.entity_type, properties = excluded.properties, updated_at = CURRENT_TIMESTAMP;

-- name: update_entity
-- locks: ROW EXCLUSIVE on graph_entities.
UPDATE graph_entities SET properties = %(properties)s, updated_at = CURRENT_TIMESTAMP
WHERE id = %(id)s AND tenant_id = %(tenant)s;

-- name: delete_entity
-- locks: ROW EXCLUSIVE on both tables: the foreign keys delete the relations. What goes is said by one
-- statement, as in the old code.
WITH gone AS (
  DELETE FROM graph_entities WHERE id = %(id)s AND tenant_id = %(tenant)s RETURNING id
)
SELECT
  (SELECT count(*) FROM gone),
  ARRAY(
    SELECT r.id FROM graph_relations AS r
    WHERE r.tenant_id = %(tenant)s AND (r.source_id = %(id)s OR r.target_id = %(id)s)
  );
