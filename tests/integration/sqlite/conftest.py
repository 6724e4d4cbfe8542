"""The sample as a SQLite file: a knowledge graph of several organisations."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

SCHEMA = """
CREATE TABLE entities (
    id text PRIMARY KEY,
    entity_type text NOT NULL,
    properties text NOT NULL DEFAULT '{}',
    embedding blob,
    created_at text NOT NULL DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE relations (
    id text PRIMARY KEY,
    relation_type text NOT NULL,
    source_id text NOT NULL REFERENCES entities (id) ON DELETE CASCADE,
    target_id text NOT NULL REFERENCES entities (id) ON DELETE CASCADE,
    weight real DEFAULT 1.0
);
CREATE INDEX idx_entities_type ON entities (entity_type);
CREATE INDEX idx_relations_source ON relations (source_id);
CREATE INDEX idx_relations_target ON relations (target_id);
CREATE VIEW people AS SELECT id, properties FROM entities WHERE entity_type = 'person';
"""


def make_graph(path: Path) -> Path:
    """Make a file with 200 entities of four organisations, and 400 relations within them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA)
        connection.executemany(
            "INSERT INTO entities (id, entity_type, properties, embedding, created_at) "
            "VALUES (?, ?, ?, ?, '2026-01-02 03:04:05')",
            [
                (
                    f"e{i:03}",
                    "person" if i % 3 else "place",
                    json.dumps({"org_id": f"org-{i % 4}"}),
                    bytes([i]),
                )
                for i in range(200)
            ],
        )
        connection.executemany(
            "INSERT INTO relations (id, relation_type, source_id, target_id) VALUES (?, 'knows', ?, ?)",
            [(f"r{i:03}", f"e{i % 200:03}", f"e{(i + 4 * (i // 200 + 1)) % 200:03}") for i in range(400)],
        )
        connection.commit()
    return path


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The sample file."""
    return make_graph(tmp_path / "graph.db")
