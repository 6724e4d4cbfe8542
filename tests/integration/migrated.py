"""The sample graph as the stages before `rls` leave it, for the tests of the stages at the end."""

from dataclasses import dataclass, field
from typing import Any

import psycopg

from control import locks
from control.plan.model import Plan
from control.stage import Ground, Stage
from control.stages import columns, indexes, keys, rls
from sql.postgres import catalog, on_demand
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog

PLAN: dict[str, Any] = {
    "name": "graph",
    "database": {"url": "postgresql:///"},
    "tables": [
        {
            "name": "graph_entities",
            "tenant": {"expression": "properties->>'org_id'"},
            "primary_key": ["id", "tenant_id"],
            "indexes": [{"name": "idx_entities_tenant", "columns": ["tenant_id"]}],
            "rls": {"policy": "tenant_isolation_entities", "mode": "strict", "quiet": "100ms"},
        },
        {
            "name": "graph_relations",
            "tenant": {"parent": "graph_entities", "on": {"source_id": "id"}},
            "primary_key": ["id", "tenant_id"],
            "indexes": [{"name": "idx_relations_tenant", "columns": ["tenant_id"]}],
            "rls": {"policy": "tenant_isolation_relations", "mode": "strict", "quiet": "100ms"},
        },
    ],
}


def plan(**tenant: Any) -> Plan:
    """The plan of the sample, with `tenant` settings of its own."""
    return Plan.model_validate(PLAN | {"tenant": tenant})


def plan_in(mode: str, *, quiet: str = "100ms", **tenant: Any) -> Plan:
    """The plan of the sample with both policies ending in `mode`."""
    tables = [table | {"rls": table["rls"] | {"mode": mode, "quiet": quiet}} for table in PLAN["tables"]]
    return Plan.model_validate(PLAN | {"tenant": tenant, "tables": tables})


@dataclass
class Remembered:
    """The memory of a migration, kept for the length of a test."""

    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def remember(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value."""
        self.kept[key] = value

    def recall(self, key: str) -> dict[str, Any] | None:
        """Give it back."""
        return self.kept.get(key)


def read(connection: Connection, of: Plan) -> Catalog:
    """The catalog as it is."""
    return catalog.read(connection, [table.name for table in of.tables])


def ground(connection: Connection, of: Plan, original: Catalog | None = None, **more: Any) -> Ground:
    """What a stage stands on, with a memory that lasts as long as the test."""
    return Ground(of, original or read(connection, of), connection, Remembered(), **more)


def _look(on: Ground) -> Catalog:
    return on_demand.look(on.connection, [table.name for table in on.plan.tables])


def take(stage: Stage, on: Ground) -> None:
    """Take a stage's steps as the conductor does."""
    for step in stage.steps(on.plan, on.original):
        if not step.done(_look(on)) and (step.gate is None or step.gate(on)):
            locks.take(on.connection, step, notify=on.notify)
            assert step.done(_look(on)), step.what


def take_back(stage: Stage, on: Ground) -> None:
    """Take a stage's undoing as the conductor does."""
    for step in stage.undo(on.plan, on.original):
        if not step.done(_look(on)) and (step.gate is None or step.gate(on)):
            locks.take(on.connection, step, notify=on.notify)
            assert step.done(_look(on)), step.what


def until_keys(on: Ground) -> None:
    """Columns, guard, values, indexes and keys; the values by two plain statements."""
    take(columns.STAGE, on)
    fill(on.connection)
    take(indexes.STAGE, on)
    take(keys.STAGE, on)


def fill(connection: psycopg.Connection) -> None:
    """Every entity's tenant from its organisation, every relation's from its source."""
    connection.execute("UPDATE graph_entities SET tenant_id = properties->>'org_id'")
    connection.execute(
        "UPDATE graph_relations SET tenant_id = e.tenant_id FROM graph_entities AS e WHERE e.id = source_id"
    )
    connection.execute("ANALYZE graph_entities, graph_relations")


def finish(on: Ground) -> None:
    """Everything up to strict row-level security, confirmed."""
    until_keys(on)
    take(rls.STAGE, Ground(on.plan, on.original, on.connection, on.memory, frozenset({"rls"})))
