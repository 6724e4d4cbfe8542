-- The statements of the guide that Tenantry was written for, on a SQLite file: one UPDATE for each table, the indexes,
-- and the rebuild of each table for its new key. What of it fails, or loses something, is mended and said.

-- name: columns
-- locks: the file's write lock, for a moment.
ALTER TABLE entities ADD COLUMN tenant_id TEXT;
ALTER TABLE relations ADD COLUMN tenant_id TEXT;

-- name: backfill
-- locks: the file's write lock until each statement's end.
UPDATE entities SET tenant_id = 'default' WHERE tenant_id IS NULL;
UPDATE relations SET tenant_id = 'default' WHERE tenant_id IS NULL;

-- name: backfill_of_many
-- locks: as backfill. Not the guide's: its statement for rows of many tenants, found as the plan finds them.
UPDATE entities SET tenant_id = coalesce(nullif(properties->>'org_id', ''), 'legacy_default') WHERE tenant_id IS NULL;
UPDATE relations SET tenant_id = (SELECT e.tenant_id FROM entities AS e WHERE e.id = source_id)
WHERE tenant_id IS NULL;

-- name: indexes
-- locks: the file's write lock until each statement's end.
CREATE INDEX idx_entities_tenant ON entities (tenant_id);
CREATE INDEX idx_entities_tenant_type ON entities (tenant_id, entity_type);
CREATE INDEX idx_relations_tenant ON relations (tenant_id);
CREATE INDEX idx_relations_tenant_source ON relations (tenant_id, source_id);
CREATE INDEX idx_relations_tenant_target ON relations (tenant_id, target_id);

-- name: keys
-- locks: the file's write lock for all of it. Mended: the guide copies by SELECT *, which takes columns by their place,
-- so they are named here; with foreign keys on, its DROP deletes every relation, so they are off; and relations take
-- the tenant into theirs, for a key on id alone is gone.
PRAGMA foreign_keys = OFF;
PRAGMA legacy_alter_table = ON;
BEGIN IMMEDIATE;
CREATE TABLE entities_new (
    id TEXT NOT NULL,
    entity_type TEXT NOT NULL,
    properties TEXT NOT NULL DEFAULT '{{}}',
    embedding BLOB,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    tenant_id TEXT,
    PRIMARY KEY (id, tenant_id)
);
INSERT INTO entities_new (id, entity_type, properties, embedding, created_at, updated_at, tenant_id)
SELECT id, entity_type, properties, embedding, created_at, updated_at, tenant_id FROM entities;
DROP TABLE entities;
ALTER TABLE entities_new RENAME TO entities;
CREATE TABLE relations_new (
    id TEXT NOT NULL,
    relation_type TEXT NOT NULL,
    source_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    properties TEXT NOT NULL DEFAULT '{{}}',
    weight REAL DEFAULT 1.0,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    tenant_id TEXT,
    PRIMARY KEY (id, tenant_id),
    FOREIGN KEY (source_id, tenant_id) REFERENCES entities (id, tenant_id) ON DELETE CASCADE,
    FOREIGN KEY (target_id, tenant_id) REFERENCES entities (id, tenant_id) ON DELETE CASCADE
);
INSERT INTO relations_new
    (id, relation_type, source_id, target_id, properties, weight, created_at, updated_at, tenant_id)
SELECT id, relation_type, source_id, target_id, properties, weight, created_at, updated_at, tenant_id FROM relations;
DROP TABLE relations;
ALTER TABLE relations_new RENAME TO relations;
COMMIT;

-- name: indexes_of_before
-- locks: the file's write lock until each statement's end. Mended: the rebuild drops all indexes with the tables, and the
-- guide forgets them: these that were there before, and those of `indexes` once more.
CREATE INDEX idx_entities_type ON entities (entity_type);
CREATE INDEX idx_relations_type ON relations (relation_type);
CREATE INDEX idx_relations_source ON relations (source_id);
CREATE INDEX idx_relations_target ON relations (target_id);
CREATE INDEX idx_relations_source_target ON relations (source_id, target_id);
