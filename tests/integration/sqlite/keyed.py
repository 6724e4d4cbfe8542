"""A file whose tables are filled, on its way to the composite keys and back."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.conductor import confirm
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.sqlite import conductor
from control.sqlite.rebuild import course, indexing
from sql.sqlite.connection import connect

GRAPH = """
CREATE TABLE entities (id TEXT PRIMARY KEY, entity_type TEXT NOT NULL, properties TEXT DEFAULT '{}');
CREATE TABLE relations (id TEXT PRIMARY KEY,
    source_id TEXT NOT NULL REFERENCES entities(id) ON DELETE CASCADE,
    target_id TEXT REFERENCES entities, weight REAL DEFAULT 1.0);
CREATE INDEX idx_entities_type ON entities (entity_type);
CREATE INDEX idx_relations_source ON relations (source_id);
"""

GRAPH_PLAN = """
[[tables]]
name = "entities"
tenant = { expression = "properties" }
indexes = [{ name = "idx_entities_tenant", columns = ["tenant_id"] }]
primary_key = ["id", "tenant_id"]
[[tables]]
name = "relations"
tenant = { parent = "entities", on = { source_id = "id" } }
primary_key = ["id", "tenant_id"]
"""

#: A folder in memory, where there is one: examples by the dozen would wait for the disk at each commit.
MEMORY = next(filter(Path.is_dir, [Path("/dev/shm")]), None)


def bytes_as_text(written: bytes) -> str:
    """A text as it lies in the file, whether it is UTF-8 or not."""
    return written.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class World:
    """A file with its plan; `tenants` are statements that give its rows their tenants."""

    path: Path
    plan: Plan
    tenants: Sequence[str]

    def connect(self) -> sqlite3.Connection:
        """A connection like an application's."""
        opened = sqlite3.connect(self.path, timeout=5, isolation_level=None)
        opened.execute("PRAGMA foreign_keys = ON")
        opened.text_factory = bytes_as_text
        return opened

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with closing(self.connect()) as opened:
            return opened.execute(statement).fetchall()

    def run(self, to: str | None = None) -> list[str]:
        """`tenantry run`; what it told."""
        told: list[str] = []
        with conductor.controller(self.plan) as file:
            conductor.run(self.plan, file, to=to, notify=told.append)
        return told

    def fill(self) -> None:
        """As far as `application`, with every row's tenant."""
        self.run("backfill")
        with closing(self.connect()) as opened:
            for statement in self.tenants:
                opened.execute(statement)
        self.run("indexes")
        with connect(f"sqlite:///{self.path}") as file:
            confirm(self.plan, file, "application")

    def rollback(self, to: str | None = None) -> None:
        """`tenantry rollback`."""
        with conductor.controller(self.plan) as file:
            conductor.rollback(self.plan, file, to=to, notify=lambda _line: None)

    def schema(self) -> list[tuple[Any, ...]]:
        """Every entry of the schema that isn't the ledger's, in order; behind them those without a text."""
        return self.ask(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'tenantry%' "
            "AND tbl_name NOT LIKE 'tenantry%' ORDER BY sql IS NULL, iif(sql IS NULL, name, rowid)"
        )

    def ours(self) -> list[str]:
        """What of the rebuild is in the file."""
        return [
            name
            for (name,) in self.ask(
                "SELECT name FROM sqlite_schema WHERE name GLOB 'tenantry_new*' OR name GLOB 'tenantry_old*' "
                "OR name GLOB 'tenantry_back*'"
            )
        ]

    def is_sound(self) -> bool:
        """Whether SQLite's own checks find nothing."""
        return self.ask("PRAGMA integrity_check") == [("ok",)] and not self.ask("PRAGMA foreign_key_check")


def world(
    folder: Path,
    schema: str,
    tables: str,
    *,
    rows: Mapping[str, Sequence[Sequence[Any]]] | None = None,
    tenants: Sequence[str] = (),
    tenant: str = "",
) -> World:
    """Make a file with a schema and rows by table, and a plan of these tables for it."""
    path = folder / "graph.db"
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute("PRAGMA journal_mode = WAL")
        opened.executescript(schema)
        for table, values in (rows or {}).items():
            marks = ", ".join("?" for _ in values[0])
            opened.executemany(f'INSERT INTO "{table}" VALUES ({marks})', values)
    file = folder / "migration.toml"
    file.write_text(
        f'name = "keys"\n[database]\nurl = "sqlite:///{path}"\n[tenant]\n{tenant}\n{tables}\n'
        '[verify]\nquiet = "0s"\n',
        encoding="utf-8",
    )
    return World(path, read_plan(file), tenants)


def graph(folder: Path, entities: int = 200) -> World:
    """The graph of entities and relations, each of one of three tenants."""
    return world(
        folder,
        GRAPH,
        GRAPH_PLAN,
        rows={
            "entities": [(f"e{i}", f"t{i % 4}", f"org{i % 3}") for i in range(entities)],
            "relations": [
                (
                    f"r{i}",
                    f"e{i % entities}",
                    f"e{(i + 3) % (entities - entities % 3)}" if i % 5 else None,
                    i / 3,
                )
                for i in range(entities)
                if (i + 3) % (entities - entities % 3) % 3 == i % 3
            ],
        },
        tenants=(
            "UPDATE entities SET tenant_id = properties",
            "UPDATE relations SET tenant_id = (SELECT tenant_id FROM entities WHERE id = source_id)",
        ),
    )


@contextmanager
def ways(*, online: bool) -> Iterator[None]:
    """Have tables take the way beside everybody's work whatever their size, and sort index entries."""
    kept = course.SHORT, indexing.AT_ONCE
    if online:
        course.SHORT, indexing.AT_ONCE = -1.0, -1
    try:
        yield
    finally:
        course.SHORT, indexing.AT_ONCE = kept
