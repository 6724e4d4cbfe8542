"""What a stage is: steps with their gate, there and back.

A stage says what it will do (`steps`), may say that it must wait (`gate`), and how to undo it (`undo`).
Each step is one statement in a transaction of its own, and knows from the catalog whether it is done: so a
run that was killed between two statements goes on with the first that is missing, and a dry run prints
the same steps that a run takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from psycopg import sql

from control.plan.model import Plan
from sql.postgres.catalog import Catalog
from sql.postgres.connection import Connection


class How(Enum):
    """How a step takes its lock; `control.locks` does it."""

    BRIEF = "brief"
    """A strong lock for milliseconds: gently announced first, then tried with a short lock_timeout."""
    ONLINE = "online"
    """CONCURRENTLY and VALIDATE: they block nobody, run outside a transaction and without time limits."""
    PLAIN = "plain"
    """Takes no lock that anybody waits for: functions, schemas, comments."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a stage.

    `tables` are the tables that the lock falls on, the one most in use last; `lock` is its name as
    PostgreSQL writes it; `done` reads the live catalog.
    """

    what: str
    statement: sql.Composed
    lock: str
    done: Callable[[Catalog], bool]
    how: How = How.BRIEF
    tables: tuple[sql.Identifier, ...] = ()
    repair: "Step | None" = None
    """Taken first where an earlier try left something half-made (an invalid index)."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate that is closed: the facts that keep it so, and what would open it."""

    facts: tuple[str, ...]
    opens: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What every stage stands on: the plan, the database as it was before the first step, and a
    connection to look at the database as it is.
    """

    plan: Plan
    original: Catalog
    connection: Connection
    facts: dict[str, object] = field(default_factory=dict)


class Stage(Protocol):
    """One stage; a module of `control.stages` holds one."""

    name: str

    def gate(self, ground: Ground) -> Closed | None:
        """Why the stage may not begin now, from the database as it is."""

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What the stage does, in order, from the plan and the catalog before the migration alone."""

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """The way back, in order."""
