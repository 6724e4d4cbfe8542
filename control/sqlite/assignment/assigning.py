"""Takes rows of a file from one tenant to another, with all that goes along, in short transactions.

A transaction takes some rows at the top and all of their families, so that no edge is ever torn; the
smallest is one row with its family. What has gone is noted by its key: an assignment that was broken off goes
on with those that are left, and one can be taken back.
"""

import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

import structlog

from control.conductor import settings_of
from control.course import go_on
from control.sqlite.assignment.lists import Lists, family_of, follow, lists_of
from control.sqlite.stage import Ground
from control.sqlite.steps import patiently
from control.tenants.assigning import ROUNDS, STAGE, end
from control.tenants.family import Family
from sql.errors import AssignmentError
from worker import ledger
from worker.assignments import Assignment
from worker.ledger import Settings
from worker.sqlite.gaps import Gaps

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Rows at the top to a transaction: the first, and the most.
FIRST, MOST = 100, 10_000
#: Growth from one to the next.
_GROWTH = 1.5
#: Seconds between two lines about how far it is.
_TELL_EVERY = 5.0


def carry_out(ground: Ground, assignment: Assignment, *, throttle: bool = True) -> dict[str, int]:
    """Take an assignment from wherever it is to its end; how many rows it took from each table.

    Raises:
        AssignmentError: the other tenant has come to have the like of a row, or rows to go come without end.
        CancelledError: the migration is cancelled.
    """
    file, plan, migration = ground.connection, ground.plan, ground.migration
    known = ledger.read(file, plan.name)
    ledger.tune(file, migration, known.tuned, settings_of(plan, throttle=throttle, tuned=known.tuned))
    ledger.set_state(file, migration, "running")
    family = family_of(plan, ground.original, assignment.tables)
    with lists_of(ground, family, where=assignment.condition, undoes=assignment.undoes) as lists:
        _Work(ground, family, lists, assignment).to_the_end()
    return end(ground, assignment)


@dataclass(slots=True)
class _Work:
    ground: Ground
    family: Family
    lists: Lists
    assignment: Assignment
    size: int = FIRST
    _gaps: Gaps = field(init=False)
    _moved: int = 0
    _told_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._gaps = Gaps(self.ground.connection)

    def to_the_end(self) -> None:
        for _ in range(ROUNDS):
            if not sum(self._round(name) for name in self.family.asked):
                return
        raise AssignmentError(
            [f"the application goes on writing rows of {self.assignment.from_tenant} that are to go"],
            "Let it write them for the other tenant, then give the same command again",
        )

    def _round(self, name: str) -> int:
        """Take a table's rows from the first to the last; how many of them there were."""
        after: tuple[Any, ...] | None = None
        taken = 0
        while True:
            go_on(self.ground, STAGE)
            # Looked for outside the transaction: a condition may be true of one row in a million.
            rows = self.lists[name].choose(self.assignment.from_tenant, after, self.size)
            if not rows:
                return taken
            after = rows[-1]
            taken += self._take(name, rows)

    def _take(self, name: str, rows: list[tuple[Any, ...]]) -> int:
        settings = ledger.read(self.ground.connection, self.ground.plan.name).settings
        try:
            for attempt in patiently(self.ground, f"{name}: rows to {self.assignment.to_tenant}"):
                with attempt:
                    moved = self._batch(name, rows)
        except sqlite3.IntegrityError as error:
            raise AssignmentError(
                [f"{name}: {error}: {self.assignment.to_tenant} has the like of a row that would go, by now"],
                "Mend that, then give the same command again: it goes on where it is",
            ) from None
        held = self.ground.connection.held
        self._moved += sum(moved.values())
        self._resize(len(rows), held, settings)
        self._tell()
        self._gaps.leave(held, throttle=settings.throttle)
        return moved[name]

    def _batch(self, name: str, rows: list[tuple[Any, ...]]) -> dict[str, int]:
        """Take rows of a table with their families, in one transaction; how many rows of each table went."""
        assignment, from_ = self.assignment, self.assignment.from_tenant
        for one in self.lists.values():
            one.clear()
        self.lists[name].put(rows)
        with self.ground.connection.transaction():
            self.lists[name].settle(from_)
            follow(self.family, self.lists, from_)
            for one in self.lists.values():
                one.note(assignment.id)
            # Those that are named last: a write guard that moves what names them finds it gone already.
            return {
                table: self.lists[table].move(from_, assignment.to_tenant)
                for table in reversed(self.family.order)
            }

    def _resize(self, rows: int, held: float, settings: Settings) -> None:
        fitting = rows * min(_GROWTH, settings.target / max(held, 1e-6))
        self.size = max(1, min(MOST, int(fitting)))

    def _tell(self) -> None:
        if time.monotonic() - self._told_at > _TELL_EVERY:
            self._told_at = time.monotonic()
            self.ground.notify(f"assign: {self._moved:,} rows have gone to {self.assignment.to_tenant}")
