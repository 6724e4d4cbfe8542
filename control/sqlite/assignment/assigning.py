"""Takes rows of a file from one tenant to another, with all that goes along, in short transactions.

A transaction takes some rows at the top with all that goes along; the smallest is one row with its family.
Where a key with the tenant in it is pointed to, it takes what other foreign keys join to them as well, so
that none is ever broken; but where everything is joined to everything, that would be one transaction for all,
and ends that are of different families go one after the other. What has gone is noted by its key: an
assignment that was broken off goes on with those that are left, and one can be taken back.
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
from control.sqlite.steps import patience, patiently
from control.tenants.assigning import ROUNDS, STAGE, end
from control.tenants.family import Family, Named
from sql.errors import AssignmentError
from sql.sqlite.names import folded
from worker import ledger
from worker.assignments import Assignment
from worker.ledger import Settings
from worker.sqlite.gaps import Gaps

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Rows at the top to a transaction: the first, and the most.
FIRST, MOST = 100, 10_000
#: Rows that are joined to each other to a transaction, at most.
LARGEST = 5_000
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
    file.patience = patience(ground.notify, "the ledger")
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
    size: int = field(default_factory=lambda: FIRST)
    _gaps: Gaps = field(init=False)
    _joined: tuple[tuple[str, Named], ...] = field(init=False)
    """Foreign keys with the tenant in them: the table that has it, and whom it names."""
    _moved: int = 0
    _told_at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._gaps = Gaps(self.ground.connection)
        self._joined = tuple(
            (child, named)
            for child, _, named in self.family.edges
            if child in self.lists and named.parent in self.lists and self._is_held(child, named.parent)
        )

    def _is_held(self, child: str, parent: str) -> bool:
        table, target = self.lists[child].table, self.lists[parent].table
        column = folded(self.ground.plan.tenant.column)
        keys = [key for key in table.foreign_keys if folded(key.target) == folded(target.name)]
        return any(column in map(folded, key.columns) for key in keys)

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
        with self.ground.connection.transaction():
            self._put(name, rows)
            if self._joined and not self._take_in_what_is_joined():
                self.ground.notify(
                    f"assign: more than {LARGEST:,} rows are joined to each other, too many for one "
                    "transaction: until it is done, some name rows that go later, or went before"
                )
                self._joined = ()
                self._put(name, rows)
            for one in self.lists.values():
                one.note(assignment.id)
            # Those that are named last: a write guard that moves what names them finds it gone already.
            return {
                table: self.lists[table].move(from_, assignment.to_tenant)
                for table in reversed(self.family.order)
            }

    def _put(self, name: str, rows: list[tuple[Any, ...]]) -> None:
        """Have on the lists those of these rows that may still go, and their families."""
        for one in self.lists.values():
            one.clear()
        self.lists[name].put(rows)
        self.lists[name].settle(self.assignment.from_tenant)
        follow(self.family, self.lists, self.assignment.from_tenant)

    def _take_in_what_is_joined(self) -> bool:
        """Put on the lists what those on them name, with its family, and so on; False if it is too much."""
        from_ = self.assignment.from_tenant
        while sum(one.count() for one in self.lists.values()) <= LARGEST:
            more = [
                self.lists[named.parent].follow(
                    self.lists[child], [(theirs, ours) for ours, theirs in named.pairs], from_
                )
                for child, named in self._joined
            ]
            if not any(more):
                return True
            follow(self.family, self.lists, from_)
        return False

    def _resize(self, rows: int, held: float, settings: Settings) -> None:
        fitting = rows * min(_GROWTH, settings.target / max(held, 1e-6))
        self.size = max(1, min(MOST, int(fitting)))

    def _tell(self) -> None:
        if time.monotonic() - self._told_at > _TELL_EVERY:
            self._told_at = time.monotonic()
            self.ground.notify(f"assign: {self._moved:,} rows have gone to {self.assignment.to_tenant}")
