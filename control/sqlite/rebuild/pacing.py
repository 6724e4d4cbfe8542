"""Short transactions one after the other: how much goes into each, and the gap in which others get in."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from control.course import go_on
from control.sqlite.stage import Ground
from control.sqlite.steps import patiently
from sql.errors import TenantryError
from sql.sqlite.connection import File
from sql.sqlite.copying import is_wal
from sql.sqlite.rebuild import STATEMENTS
from worker import ledger
from worker.ledger import Settings
from worker.sqlite.batch import Done
from worker.sqlite.governing import Governor

#: Seconds between two looks at what is tuned.
_EVERY = 1.0
#: A batch grows to twice its size at most.
_GROWS = 2.0
_FEWEST, _MOST = 50, 50_000
#: Instructions of SQLite's machine between two looks at the clock.
_LOOK_EVERY = 20_000


class Pace:
    """What a stage's batches go by; one for all of them."""

    def __init__(self, ground: Ground, stage: str) -> None:
        self._ground = ground
        self._stage = stage
        self._size = 1_000
        self._governor = Governor(ground.connection, ground.migration)
        self._settings: Settings | None = None
        self._asked = float("-inf")
        self.longest = 0.0
        """How long a batch had the write lock at most; seconds."""

    @property
    def size(self) -> int:
        """Rows of the next batch."""
        return self._size

    def batch(self, what: str, work: Callable[[int], int], *, job: int | None = None) -> int:
        """One transaction with `work`, which is given the size and says how many rows it were, and the gap.

        It goes once the governor lets it, as the backfill's batches do; a hold is no work of the `job`'s.

        Raises:
            CancelledError: the migration is cancelled.
            FileBusyError: others were in the way, again and again.
        """
        settings = self.turn(job)
        begun, asked = time.monotonic(), time.perf_counter()
        file, rows = self._ground.connection, 0
        for attempt in patiently(self._ground, what):
            with attempt, file.transaction():
                rows = work(self._size)
        self.longest = max(self.longest, file.held)
        self._resize(file.held, settings.target)
        self._governor.done(settings, Done(rows, file.held, file.begun - asked), begun)
        return rows

    def all(self, what: str, work: Callable[[int], int]) -> None:
        """Batches until one has nothing to do."""
        while self.batch(what, work):
            pass

    def begin_with(self, rows: int) -> None:
        """Set the size, where another kind of work begins."""
        self._size = rows

    def turn(self, job: int | None = None) -> Settings:
        """Wait until the governor lets the next transaction go; what is tuned by then.

        Raises:
            CancelledError: the migration is cancelled.
        """
        file = self._ground.connection
        try:
            while True:
                go_on(self._ground, self._stage)
                settings = self._tuned()
                with file.impatient():  # what is only shown is left out while another writer has the file
                    if self._governor.may_go(settings, job):
                        return settings
        except TenantryError:
            self._governor.leave()
            raise

    def _tuned(self) -> Settings:
        now = time.monotonic()
        if self._settings is None or now - self._asked > _EVERY:
            self._settings = ledger.read(self._ground.connection, self._ground.plan.name).settings
            self._asked = now
        return self._settings

    def _resize(self, held: float, target: float) -> None:
        factor = min(_GROWS, max(0.1, 0.8 * target / max(held, 1e-6)))
        self._size = max(_FEWEST, min(_MOST, int(self._size * factor)))


@contextmanager
def at_work(file: File) -> Iterator[None]:
    """Have the connection as batches want it: more memory, and the WAL written back between them.

    Batches don't wait for the disk where that is safe; what must, does so by `durably`.
    """
    for statement in (
        STATEMENTS.more_memory,
        STATEMENTS.sort_beside,
        STATEMENTS.checkpoint_by_hand,
        STATEMENTS.free_quickly,
    ):
        file.rows(statement.filled())
    # It loses transactions at most, and tears none apart: with a rollback journal it could.
    if is_wal(file):
        file.execute(STATEMENTS.sync_less.filled())
    try:
        yield
    finally:
        file.execute(STATEMENTS.sync_fully.filled())
        file.rows(STATEMENTS.checkpoint_by_itself.filled())


@contextmanager
def durably(file: File) -> Iterator[None]:
    """Have a transaction, and all before it, on the disk at its end; within `at_work`."""
    file.execute(STATEMENTS.sync_fully.filled())
    try:
        yield
    finally:
        if is_wal(file):
            file.execute(STATEMENTS.sync_less.filled())


@contextmanager
def not_longer_than(file: File, seconds: float) -> Iterator[Callable[[], bool]]:
    """Break off a transaction that holds the write lock for longer; the body's end tells whether it was."""
    over = False

    def look() -> int:
        nonlocal over
        over = over or (file.in_transaction and time.perf_counter() - file.begun > seconds)
        return int(over)

    file.raw.set_progress_handler(look, _LOOK_EVERY)
    try:
        yield lambda: over
    except sqlite3.OperationalError:
        if not over:
            raise
    finally:
        file.raw.set_progress_handler(None, 0)
