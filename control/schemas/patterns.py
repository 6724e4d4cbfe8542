"""How the shared tables were when the stage began: what copies are made by, there and on the way back.

Kept in the ledger, for the switch renames the tables, and holds off their triggers and foreign keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from control.stage import Ground
from sql.ledger import meant
from sql.postgres import schemas
from sql.postgres.facts import Table
from sql.postgres.schemas import Pattern

MEMORY = "schemas.patterns"


@dataclass(frozen=True, slots=True)
class Patterns:
    """The patterns by the plan's names, in the plan's order."""

    named: Sequence[tuple[str, Pattern]]

    @property
    def every(self) -> list[Pattern]:
        """Without names."""
        return [pattern for _, pattern in self.named]

    @property
    def inside(self) -> dict[int, str]:
        """What the copies of the tables are called, by the tables' oids."""
        return {pattern.oid: pattern.name for pattern in self.every}


def patterns(ground: Ground) -> Patterns:
    """The patterns as they are kept, or as the tables are now, and kept from now on."""
    if not ground.memory.recall(MEMORY):
        ground.memory.remember(MEMORY, _read(ground))
    return as_they_are(ground)


def as_they_are(ground: Ground) -> Patterns:
    """The same, for who only looks: nothing is kept."""
    kept = ground.memory.recall(MEMORY) or _read(ground)
    place = f"migrations.memory ({MEMORY})"
    return Patterns(
        [
            (table.name, meant(Pattern, kept.get(table.name), place, ground.plan.name))
            for table in ground.plan.tables
        ]
    )


def _read(ground: Ground) -> dict[str, Any]:
    tables, column = ground.original.tables, ground.plan.tenant.column
    found = schemas.patterns(ground.connection, [table.oid for table in tables.values()])
    return {
        name: _of(found[table.oid], table, column).model_dump(mode="json") for name, table in tables.items()
    }


def _of(pattern: Pattern, was: Table, column: str) -> Pattern:
    """The pattern, without what has come to the tenant column where the copies don't have it."""
    if was.column(column) is not None:
        return pattern.model_copy(update={"had_tenant": True})
    before = {index.name for index in was.indexes} | {key.name for key in was.foreign_keys}
    return pattern.model_copy(
        update={
            "grants": tuple(one for one in pattern.grants if one.column != column),
            "indexes": tuple(
                one
                for one in pattern.indexes
                if one.name in before or column not in one.columns or column not in one.definition
            ),
            "references_": tuple(
                one for one in pattern.references_ if one.name in before or column not in one.columns
            ),
        }
    )


def forget(ground: Ground) -> None:
    """Forget them: the next time tables may be others."""
    ground.memory.remember(MEMORY, {})
