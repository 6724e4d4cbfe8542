"""The plan of the sample file, and what tests do to the file as its application would."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from control.conductor import confirm
from control.plan.model import Plan
from control.sqlite import conductor
from tests.integration.sqlite.conftest import make_graph

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
    "verify": {"quiet": "0s"},
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


@cache
def _made(to: str | None) -> bytes:
    with TemporaryDirectory() as folder:
        path = make_graph(Path(folder) / "graph.db")
        run(plan_of(path), to=to)
        return path.read_bytes()


def migrate(path: Path, to: str | None = None) -> Path:
    """Have the sample file as it is after a stage, or after all; it is made once."""
    path.write_bytes(_made(to))
    return path
