"""What a stage of a SQLite file's migration is made of; `control.stage` says what stages are.

A step may be several statements: SQLite takes DDL back with its transaction, so they are one transaction, and
whoever is killed in it leaves nothing behind.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.stage import Closed, Memory
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog

#: The only lock that keeps others waiting: one writer at a time. In WAL mode readers never wait.
WRITE_LOCK = "write lock"


def _say_nothing(_message: str) -> None:
    """A ground that nobody watches."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every stage stands on: the plan, the schema before the first step, a connection to the file."""

    plan: Plan
    original: Catalog
    connection: File
    memory: Memory
    confirmed: frozenset[str] = frozenset()
    notify: Callable[[str], None] = _say_nothing
    migration: int = 0
    """Its id in the ledger; 0 before there is one (a dry run)."""
    window: bool = False
    """Whether this is a maintenance window: nobody else is at work."""


@dataclass(frozen=True, slots=True)
class Step:
    """Statements that are one transaction; `done` reads the live schema (`Live`).

    `guards` says that it is for rows that others write meanwhile: a maintenance window goes without it.
    """

    what: str
    statements: tuple[str, ...]
    done: "Callable[[Live], bool]"
    lock: str = WRITE_LOCK
    guards: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """The schema as it is: the operator's own, and what of ours is in it (`tenantry_…`), by name."""

    catalog: Catalog
    ours: dict[str, str]


class Stage(Protocol):
    """One stage; a module of `control.sqlite.stages` holds one.

    It may have what `control.stage` calls Works, Unworks, Amendable and OneWay, too.
    """

    @property
    def name(self) -> str:
        """What the command line and the ledger call it."""

    def gate(self, ground: Ground) -> Closed | None:
        """Why the stage may not begin now, from the file as it is."""

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What the stage does, in order, from the plan and the schema before the migration alone."""

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The way back, in order."""


class WithoutStatements:
    """What a stage has that changes nothing in the schema and may begin at any time."""

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # the protocol's
        """Nothing but the stages before it keeps it closed."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """No statements."""
        return iter(())

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:  # noqa: ARG002  # the protocol's
        """Nothing to take back by statements."""
        return iter(())


def sentinel_of(plan: Plan) -> str | None:
    """What a row of a file holds that has no tenant yet: NULL, unless the plan says something else."""
    return plan.tenant.sentinel_value if "sentinel" in plan.tenant.model_fields_set else None


def start(plan: Plan, table: PlanTable) -> str | None:
    """The column's default while old code may write: the constant, or else the sentinel."""
    return sentinel_of(plan) if table.constant is None else table.constant
