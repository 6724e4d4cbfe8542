"""A small graph in a file, its plan, and a look at it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from control.plan.model import Plan
from control.preflight.finding import Finding
from control.sqlite import conductor
from control.sqlite.preflight.checklist import look
from control.sqlite.stage import Ground
from sql.sqlite.connection import connect

GRAPH = """
PRAGMA journal_mode = WAL;
CREATE TABLE entities (id TEXT PRIMARY KEY, entity_type TEXT, properties TEXT DEFAULT '{}');
CREATE TABLE relations (
    id TEXT PRIMARY KEY,
    source_id TEXT REFERENCES entities ON DELETE CASCADE,
    target_id TEXT REFERENCES entities ON DELETE CASCADE
);
CREATE INDEX relations_source ON relations (source_id);
INSERT INTO entities VALUES
    ('a1', 'person', '{"org_id": "acme"}'),
    ('a2', 'place', '{"org_id": "acme"}'),
    ('u1', 'person', '{"org_id": "umbra"}');
INSERT INTO relations VALUES ('r1', 'a1', 'a2'), ('r2', 'u1', 'u1');
"""

PLAN: dict[str, Any] = {
    "name": "multi-tenancy",
    "tables": [
        {
            "name": "entities",
            "tenant": {"expression": "properties->>'org_id'"},
            "indexes": [{"name": "idx_entities_tenant", "columns": ["tenant_id"]}],
            "primary_key": ["id", "tenant_id"],
        },
        {
            "name": "relations",
            "tenant": {"parent": "entities", "on": {"source_id": "id"}},
            "primary_key": ["id", "tenant_id"],
        },
    ],
}


def make(folder: Path, *statements: str) -> Path:
    """A file with the small graph, and what the statements make of it."""
    path = folder / "graph.db"
    with closing(sqlite3.connect(path)) as opened:
        for statement in (GRAPH, *statements):
            opened.executescript(statement)
    return path


def plan(path: Path, changes: dict[str, Any] | None = None, **others: Any) -> Plan:
    """The plan for a file; `changes` say something else about tables, by their name."""
    tables = [table | (changes or {}).get(table["name"], {}) for table in PLAN["tables"]]
    known = {table["name"] for table in tables}
    tables += [more | {"name": name} for name, more in (changes or {}).items() if name not in known]
    given = PLAN | {"database": {"url": f"sqlite:///{path}"}, "tables": tables} | others
    return Plan.model_validate(given)


@contextmanager
def surveyed(given: Plan) -> Iterator[Ground]:
    """What a check stands on."""
    with connect(given.database.url.get_secret_value()) as file:
        yield conductor.survey(given, file, lambda _line: None)


def findings(given: Plan) -> list[Finding]:
    """What a check finds."""
    with surveyed(given) as ground:
        return look(ground)


def at(found: list[Finding], level: str) -> dict[str, str]:
    """The facts of a level, by their names."""
    return {finding.name: finding.fact for finding in found if finding.level == level}
