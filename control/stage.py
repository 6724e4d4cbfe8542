"""What a stage is: steps with their gate, there and back.

A stage says what it will do (`steps`), may say that it must wait (`gate`), and how to undo it (`undo`).
Each step is one statement in a transaction of its own, and knows from the catalog whether it is done: so a
run that was killed between two statements goes on with the first that is missing, and a dry run prints
the same steps that a run takes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeVar, runtime_checkable

from psycopg import sql

from control.plan.model import Plan
from sql.database import Database
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from worker.broker import Doorbell


class How(Enum):
    """How a step takes its lock; `control.locks` does it."""

    BRIEF = "brief"
    """A strong lock for milliseconds: gently announced first, then tried with a short lock_timeout."""
    ONLINE = "online"
    """CONCURRENTLY and VALIDATE: they block nobody, run outside a transaction and without time limits."""
    PLAIN = "plain"
    """Takes no lock that anybody waits for: functions, schemas, comments."""


@dataclass(frozen=True, slots=True)
class Repair:
    """What clears an earlier half-made try away (an invalid index), just before the step is tried.

    `needed` looks at the database as it is, before each try; it raises `CatalogError` where something is in
    the way that is not ours to clear.
    """

    statement: sql.Composed
    needed: Callable[[Connection], bool]


@dataclass(frozen=True, slots=True)
class Lane:
    """Steps of one `group` that follow each other may be taken side by side, those of a `table` in order."""

    group: str
    table: str


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
    repair: Repair | None = None
    gate: "Callable[[Ground], bool] | None" = None
    """Asked before the step is taken, a gate within a stage: it may wait, and raise `GateClosedError`. False
    leaves the step out, the gate having said why."""
    instead: Callable[[Catalog], str | None] | None = None
    """Where the step is done because something of others' serves: what that is, for the audit."""
    lane: Lane | None = None
    """None for a step that is taken alone."""
    first: sql.Composed | None = None
    """Of a brief one: sent in its transaction before `tables` are locked, for what their readers lock before
    them. The statement does it again."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A gate that is closed: the facts that keep it so, and what would open it."""

    facts: tuple[str, ...]
    opens: str


class Memory(Protocol):
    """What a stage must still know after the controller has been restarted; the ledger keeps it."""

    def remember(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value that JSON can write under `key`, in place of an earlier one."""

    def recall(self, key: str) -> dict[str, Any] | None:
        """What was last kept under `key`; None if nothing was."""


@dataclass(frozen=True, slots=True)
class NoMemory:
    """The memory of a migration that has not begun."""

    def remember(self, key: str, value: dict[str, object]) -> None:
        """Keep nothing."""

    def recall(self, key: str) -> None:  # noqa: ARG002  # there is nothing under any key
        """Nothing is kept."""
        return


class Standing(Protocol):
    """What a stage stands on, whichever database the migration is in."""

    @property
    def plan(self) -> Plan:
        """The plan."""

    @property
    def connection(self) -> Database:
        """The controller's connection."""

    @property
    def memory(self) -> Memory:
        """What outlives the controller."""

    @property
    def notify(self) -> Callable[[str], None]:
        """Takes one line about what goes on."""

    @property
    def migration(self) -> int:
        """Its id in the ledger; 0 before there is one."""

    @property
    def confirmed(self) -> frozenset[str]:
        """The stages that the operator has confirmed."""

    @property
    def window(self) -> bool:
        """Whether this is a maintenance window: nobody else is at work."""


OnGround_contra = TypeVar("OnGround_contra", bound=Standing, contravariant=True)


def _say_nothing(_message: str) -> None:
    """A ground that nobody watches."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What every stage stands on: the plan, the database before the first step, a connection to it as it is.

    `confirmed` holds the names of the stages that the operator has confirmed; `notify` takes one
    line about what is waited for.
    """

    plan: Plan
    original: Catalog
    connection: Connection
    memory: Memory
    confirmed: frozenset[str] = frozenset()
    notify: Callable[[str], None] = _say_nothing
    migration: int = 0
    """Its id in the ledger; 0 before there is one (a dry run)."""
    window: bool = False
    """Whether this is a maintenance window: nobody else is at work."""
    doorbell: Doorbell | None = None
    """The queue, for the one stage that has work for it; a dry run and the way back have none."""


class Stage(Protocol):
    """One stage; a module of `control.stages` holds one."""

    @property
    def name(self) -> str:
        """What the command line and the ledger call it."""

    def gate(self, ground: Ground) -> Closed | None:
        """Why the stage may not begin now, from the database as it is."""

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What the stage does, in order, from the plan and the catalog before the migration alone."""

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


@runtime_checkable
class Works(Protocol[OnGround_contra]):
    """A stage with work beside its statements: batches, a dump, checks, a confirmation to wait for."""

    def work(self, ground: OnGround_contra) -> None:
        """Do it, after the steps; `GateClosedError` where it must wait."""


@runtime_checkable
class Amendable(Protocol[OnGround_contra]):
    """A stage whose end may be overtaken once it is done, by the plan or by the tables; asked at each run."""

    def amended(self, ground: OnGround_contra) -> bool:
        """Whether a run must go through it again."""


@runtime_checkable
class OneWay(Protocol[OnGround_contra]):
    """A stage that can come to have no way back; asked before the first stage is undone."""

    def no_way_back(self, ground: OnGround_contra) -> Closed | None:
        """Why it can't be undone any more."""


@runtime_checkable
class Unworks(Protocol[OnGround_contra]):
    """A stage whose work leaves something behind that its undo steps don't take away."""

    def unwork(self, ground: OnGround_contra) -> None:
        """Take it away, before the undo steps."""
