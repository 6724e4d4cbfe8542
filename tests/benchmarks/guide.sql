-- The statements of the guide that Tenantry was written for, step by step, as an operator sends them by psql;
-- each step ends with the look that the guide takes at it. What of it fails is mended and said.

-- name: columns
-- locks: ACCESS EXCLUSIVE on each table, for a moment once it has it: it queues behind every transaction.
ALTER TABLE graph_entities ADD COLUMN IF NOT EXISTS tenant_id text NOT NULL DEFAULT '';
ALTER TABLE graph_relations ADD COLUMN IF NOT EXISTS tenant_id text NOT NULL DEFAULT '';
SELECT column_name, data_type, column_default FROM information_schema.columns
WHERE table_name IN ('graph_entities', 'graph_relations') AND column_name = 'tenant_id';

-- name: backfill
-- locks: ROW EXCLUSIVE on each table, and every row of it until the statement's end.
UPDATE graph_entities SET tenant_id = 'legacy_default' WHERE tenant_id = '';
UPDATE graph_relations SET tenant_id = 'legacy_default' WHERE tenant_id = '';
SELECT tenant_id, count(*) FROM graph_entities GROUP BY tenant_id;
SELECT tenant_id, count(*) FROM graph_relations GROUP BY tenant_id;

-- name: backfill_of_many
-- locks: as backfill. Not the guide's: its statement for rows of many tenants, found as the plan finds them.
UPDATE graph_entities SET tenant_id = coalesce(nullif(properties->>'org_id', ''), 'legacy_default')
WHERE tenant_id = '';
UPDATE graph_relations SET tenant_id = graph_entities.tenant_id FROM graph_entities
WHERE graph_entities.id = source_id AND graph_relations.tenant_id = '';
SELECT tenant_id, count(*) FROM graph_entities GROUP BY tenant_id;
SELECT tenant_id, count(*) FROM graph_relations GROUP BY tenant_id;

-- name: indexes
-- locks: SHARE UPDATE EXCLUSIVE on each table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_entities_tenant ON graph_entities (tenant_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_entities_tenant_type ON graph_entities (tenant_id, entity_type);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_relations_tenant ON graph_relations (tenant_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_relations_tenant_source ON graph_relations (tenant_id, source_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS idx_relations_tenant_target ON graph_relations (tenant_id, target_id);
SELECT schemaname, tablename, indexname, indexdef FROM pg_indexes
WHERE tablename IN ('graph_entities', 'graph_relations') AND indexname LIKE '%tenant%';

-- name: keys
-- locks: ACCESS EXCLUSIVE on each table while its new key is built, SHARE ROW EXCLUSIVE while the rows are held
-- against the foreign keys. Mended: the guide's DROP of the entities' key fails on the foreign keys onto it, so
-- they go first, and come back with the tenant in them.
ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_source_id_fkey;
ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_target_id_fkey;
ALTER TABLE graph_entities DROP CONSTRAINT IF EXISTS graph_entities_pkey;
ALTER TABLE graph_relations DROP CONSTRAINT IF EXISTS graph_relations_pkey;
ALTER TABLE graph_entities ADD PRIMARY KEY (id, tenant_id);
ALTER TABLE graph_relations ADD PRIMARY KEY (id, tenant_id);
ALTER TABLE graph_relations ADD CONSTRAINT graph_relations_source_id_fkey
  FOREIGN KEY (source_id, tenant_id) REFERENCES graph_entities (id, tenant_id) ON DELETE CASCADE;
ALTER TABLE graph_relations ADD CONSTRAINT graph_relations_target_id_fkey
  FOREIGN KEY (target_id, tenant_id) REFERENCES graph_entities (id, tenant_id) ON DELETE CASCADE;
SELECT conname, contype, conrelid::regclass FROM pg_constraint
WHERE conrelid IN ('graph_entities'::regclass, 'graph_relations'::regclass) AND contype = 'p';

-- name: rls
-- locks: ACCESS EXCLUSIVE on each table, for a moment once it has it.
ALTER TABLE graph_entities ENABLE ROW LEVEL SECURITY;
ALTER TABLE graph_relations ENABLE ROW LEVEL SECURITY;
ALTER TABLE graph_entities FORCE ROW LEVEL SECURITY;
ALTER TABLE graph_relations FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation_entities ON graph_entities
  USING (tenant_id = current_setting('app.current_tenant_id', true));
CREATE POLICY tenant_isolation_relations ON graph_relations
  USING (tenant_id = current_setting('app.current_tenant_id', true));
SELECT schemaname, tablename, rowsecurity FROM pg_tables WHERE tablename IN ('graph_entities', 'graph_relations');
SELECT schemaname, tablename, policyname, permissive, roles, qual FROM pg_policies
WHERE tablename IN ('graph_entities', 'graph_relations');
