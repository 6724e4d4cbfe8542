-- The sample graph of the demo, the tests and the benchmarks in a file: a knowledge graph as single-tenant deployments
-- have it, with the names that they use.

-- name: write_ahead
-- locks: the file's write lock, for a moment: nobody uses the sample before it is filled.
PRAGMA journal_mode = WAL;

-- name: create_entities
-- locks: the file's write lock until the fill commits: nobody uses the sample before it is filled.
CREATE TABLE entities (
    id TEXT PRIMARY KEY,
    entity_type TEXT NOT NULL,
    properties TEXT NOT NULL DEFAULT '{{}}',
    embedding BLOB,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

-- name: create_relations
-- locks: the file's write lock, as create_entities.
CREATE TABLE relations (
    id TEXT PRIMARY KEY,
    relation_type TEXT NOT NULL,
    source_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    properties TEXT NOT NULL DEFAULT '{{}}',
    weight REAL DEFAULT 1.0,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    FOREIGN KEY (source_id) REFERENCES entities (id) ON DELETE CASCADE,
    FOREIGN KEY (target_id) REFERENCES entities (id) ON DELETE CASCADE
);

-- name: insert_entity
-- locks: the file's write lock, as create_entities.
INSERT INTO entities (id, entity_type, properties, embedding) VALUES (?, ?, ?, ?);

-- name: insert_relation
-- locks: the file's write lock, as create_entities.
INSERT INTO relations (id, relation_type, source_id, target_id, properties, weight) VALUES (?, ?, ?, ?, ?, ?);

-- name: index_types
-- locks: the file's write lock, as create_entities.
CREATE INDEX idx_entities_type ON entities (entity_type);

-- name: index_relation_types
-- locks: the file's write lock, as create_entities.
CREATE INDEX idx_relations_type ON relations (relation_type);

-- name: index_sources
-- locks: the file's write lock, as create_entities.
CREATE INDEX idx_relations_source ON relations (source_id);

-- name: index_targets
-- locks: the file's write lock, as create_entities.
CREATE INDEX idx_relations_target ON relations (target_id);

-- name: index_both_ends
-- locks: the file's write lock, as create_entities.
CREATE INDEX idx_relations_source_target ON relations (source_id, target_id);

-- name: settle
-- locks: the file's write lock, for the rows of sqlite_stat1.
ANALYZE;

-- name: checkpoint
-- locks: the file's write lock while the WAL is brought into it: nobody uses the sample yet.
PRAGMA wal_checkpoint(TRUNCATE);
