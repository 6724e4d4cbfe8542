-- The sample graph of the demo, the tests and the benchmarks: a knowledge graph as single-tenant
-- deployments have it, with the names that they use. A name here may hold several statements; they go to
-- the server in one round trip.

-- name: create_role
-- locks: ROW EXCLUSIVE on pg_authid, for a moment. Roles belong to the whole server: another database's
-- sample, or another test at this very moment, may have made it.
DO $$
BEGIN
  -- Asked first: whoever may make no role is refused, though it is there.
  IF to_regrole('graph_app') IS NULL THEN
    CREATE ROLE graph_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
  END IF;
EXCEPTION
  WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;

-- name: create_tables
-- locks: ACCESS EXCLUSIVE on the two new tables, which nobody else can see yet.
CREATE TABLE graph_entities (
  id text NOT NULL,
  entity_type text NOT NULL,
  properties jsonb NOT NULL DEFAULT '{{}}',
  embedding bytea,
  created_at timestamp DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE graph_relations (
  id text NOT NULL,
  relation_type text NOT NULL,
  source_id text NOT NULL,
  target_id text NOT NULL,
  properties jsonb NOT NULL DEFAULT '{{}}',
  weight real DEFAULT 1.0,
  created_at timestamp DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp DEFAULT CURRENT_TIMESTAMP
);

-- name: create_keys
-- locks: ACCESS EXCLUSIVE on both tables for the primary keys, SHARE on each for its indexes, SHARE ROW
-- EXCLUSIVE on both for the foreign keys: nobody uses the sample before it is filled.
ALTER TABLE graph_entities ADD CONSTRAINT graph_entities_pkey PRIMARY KEY (id);
ALTER TABLE graph_relations ADD CONSTRAINT graph_relations_pkey PRIMARY KEY (id);
CREATE INDEX idx_graph_entities_type ON graph_entities (entity_type);
CREATE INDEX idx_graph_entities_properties ON graph_entities USING gin (properties);
CREATE INDEX idx_graph_relations_type ON graph_relations (relation_type);
CREATE INDEX idx_graph_relations_source ON graph_relations (source_id);
CREATE INDEX idx_graph_relations_target ON graph_relations (target_id);
CREATE INDEX idx_graph_relations_source_target ON graph_relations (source_id, target_id);
CREATE INDEX idx_graph_relations_properties ON graph_relations USING gin (properties);
ALTER TABLE graph_relations
  ADD CONSTRAINT graph_relations_source_id_fkey
    FOREIGN KEY (source_id) REFERENCES graph_entities (id) ON DELETE CASCADE,
  ADD CONSTRAINT graph_relations_target_id_fkey
    FOREIGN KEY (target_id) REFERENCES graph_entities (id) ON DELETE CASCADE;

-- name: drop_keys
-- locks: ACCESS EXCLUSIVE on both tables until the fill commits: nobody uses the sample before it is filled.
ALTER TABLE graph_relations
  DROP CONSTRAINT graph_relations_source_id_fkey,
  DROP CONSTRAINT graph_relations_target_id_fkey,
  DROP CONSTRAINT graph_relations_pkey;
ALTER TABLE graph_entities DROP CONSTRAINT graph_entities_pkey;
DROP INDEX
  idx_graph_entities_type,
  idx_graph_entities_properties,
  idx_graph_relations_type,
  idx_graph_relations_source,
  idx_graph_relations_target,
  idx_graph_relations_source_target,
  idx_graph_relations_properties;

-- name: grant
-- locks: ACCESS SHARE on both tables; nobody waits for it.
GRANT SELECT, INSERT, UPDATE, DELETE ON graph_entities, graph_relations TO graph_app;

-- name: empty
-- locks: ACCESS EXCLUSIVE on both tables, held by drop_keys already. COPY ... FREEZE asks that the table
-- was emptied in the same transaction.
TRUNCATE graph_entities, graph_relations;

-- name: build_memory
-- locks: none. For this transaction: the indexes of ten million rows are sorted in memory, not on disk.
SELECT set_config('maintenance_work_mem', '512MB', true);

-- name: copy_entities
-- locks: ROW EXCLUSIVE on graph_entities. FREEZE: the rows begin as those of an old table, already frozen,
-- so no anti-wraparound work of the fill falls into the migration that is measured.
COPY graph_entities (id, entity_type, properties, embedding) FROM STDIN (FORMAT text, FREEZE);

-- name: copy_relations
-- locks: ROW EXCLUSIVE on graph_relations; FREEZE as for the entities.
COPY graph_relations (id, relation_type, source_id, target_id, properties, weight) FROM STDIN (FORMAT text, FREEZE);

-- name: settle
-- locks: SHARE UPDATE EXCLUSIVE on one table after the other. Sets the visibility map and the statistics,
-- as autovacuum has long done on a real table.
VACUUM (ANALYZE) graph_entities, graph_relations;

-- name: standing
-- locks: none; a read of the catalog.
SELECT
  to_regclass('graph_entities') IS NOT NULL OR to_regclass('graph_relations') IS NOT NULL,
  obj_description(to_regclass('graph_entities'), 'pg_class');

-- name: sign
-- locks: SHARE UPDATE EXCLUSIVE on graph_entities, for a moment: nobody uses the sample before it is filled.
COMMENT ON TABLE graph_entities IS {sign};

-- name: filled
-- locks: ACCESS SHARE on graph_entities; the first row ends the search.
SELECT EXISTS (SELECT FROM graph_entities);

-- name: upserting
-- locks: none; a read of the catalog. Which of the two codes finds the unique key that its upserts name.
SELECT
  coalesce(bool_or(columns = ARRAY['id']), false),
  coalesce(bool_or(columns = ARRAY['id', 'tenant_id']), false)
FROM (
  SELECT ARRAY(
    SELECT a.attname::text
    FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.number
    ORDER BY k.place
  ) AS columns
  FROM pg_index AS i
  WHERE i.indrelid = 'graph_entities'::regclass AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
) AS unique_keys;
