"""The plan of the sample file, and what tests do to the file as its application would."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from control.conductor import confirm
from control.plan.model import Plan
from control.sqlite import conductor

PLAN: dict[str, Any] = {
    "name": "graph",
    "tenant": {"sentinel": "null"},
    "tables": (
        {
            "name": "entities",
            "tenant": {"expression": "properties->>'org_id'"},
            "indexes": ({"name": "idx_entities_tenant", "columns": ("tenant_id",)},),
            "primary_key": ("id", "tenant_id"),
        },
        {
            "name": "relations",
            "tenant": {"parent": "entities", "on": {"source_id": "id"}},
            "indexes": ({"name": "idx_relations_tenant", "columns": ("tenant_id",)},),
            "primary_key": ("id", "tenant_id"),
        },
    ),
    "verify": {"quiet": "1s"},
}


def plan_of(path: Path, **more: Any) -> Plan:
    """The plan of a file; `more` in place of what it says else."""
    return Plan.model_validate(PLAN | {"database": {"url": f"sqlite:///{path}"}} | more)


@contextmanager
def application(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection as an application has one, in autocommit."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=5)) as connection:
        yield connection


def contents(path: Path) -> list[str]:
    """Everything that is in a file, as SQL."""
    with application(path) as connection:
        return list(connection.iterdump())


def run(plan: Plan, to: str | None = None) -> list[str]:
    """Run a plan as far as a stage, with the deployment vouched for; what it said."""
    said: list[str] = []
    with conductor.controller(plan) as file:
        if to is None or to in {"keys", "verify"}:
            conductor.run(plan, file, to="indexes", notify=said.append)
            confirm(plan, file, "application")
        conductor.run(plan, file, to=to, notify=said.append)
    return said


#: What the migration comes to, by hand.
BY_HAND = """
UPDATE entities SET tenant_id = properties->>'org_id';
UPDATE relations SET tenant_id = (SELECT tenant_id FROM entities WHERE id = source_id);
CREATE TABLE new_entities (
    id text, entity_type text NOT NULL, properties text NOT NULL DEFAULT '{}', embedding blob,
    created_at text NOT NULL DEFAULT CURRENT_TIMESTAMP, tenant_id TEXT, PRIMARY KEY (id, tenant_id)
);
INSERT INTO new_entities SELECT id, entity_type, properties, embedding, created_at, tenant_id FROM entities;
CREATE TABLE new_relations (
    id text, relation_type text NOT NULL, source_id text NOT NULL, target_id text NOT NULL,
    weight real DEFAULT 1.0, tenant_id TEXT, PRIMARY KEY (id, tenant_id),
    FOREIGN KEY (source_id, tenant_id) REFERENCES entities (id, tenant_id) ON DELETE CASCADE,
    FOREIGN KEY (target_id, tenant_id) REFERENCES entities (id, tenant_id) ON DELETE CASCADE
);
INSERT INTO new_relations SELECT id, relation_type, source_id, target_id, weight, tenant_id FROM relations;
PRAGMA legacy_alter_table = ON;
DROP TABLE relations;
DROP TABLE entities;
ALTER TABLE new_entities RENAME TO entities;
ALTER TABLE new_relations RENAME TO relations;
CREATE INDEX idx_entities_type ON entities (entity_type);
CREATE INDEX idx_relations_source ON relations (source_id);
CREATE INDEX idx_relations_target ON relations (target_id);
CREATE INDEX idx_entities_tenant ON entities (tenant_id);
CREATE INDEX idx_relations_tenant ON relations (tenant_id);
"""


def migrate(path: Path) -> None:
    """Take the sample file through all that changes it."""
    run(plan_of(path), to="columns")
    with application(path) as connection:
        ours = "SELECT type, name FROM sqlite_schema WHERE type = 'trigger' OR name = 'tenantry_guard'"
        for kind, name in connection.execute(ours).fetchall():
            connection.execute(f'DROP {kind} "{name}"')
        connection.executescript(BY_HAND)
