"""What the keys of the full screen do: pause, resume, pace. Each is in the audit as its command is."""

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from control import status, steering, tuning
from control.plan.model import Plan
from control.plan.reading import read_plan
from sql.database import Database, connect
from sql.errors import TenantryError
from sql.postgres.failure import ended
from worker import ledger
from worker.logs import mask

#: How many keys may wait for the one before them; more are not heard.
_WAITING = 8


def _pause(plan: Plan, connection: Database) -> str:
    steering.pause(plan, connection)
    return "paused: no further batch and no further step begins; r lets it go on"


def _resume(plan: Plan, connection: Database) -> str:
    steering.resume(plan, connection)
    return "resumed: it goes on where a run is active, else with `tenantry run` or `tenantry rollback`"


def _slower(plan: Plan, connection: Database) -> str:
    found = status.read(connection, plan.name)
    rate = sum(table.rows_per_second for table in found.tables if table.state == "running")
    # While nothing may go the rate of the last seconds runs down, and says nothing of the pace.
    goes = found.state == "running" and found.held is None
    return _tuned(plan, connection, lambda limit: tuning.slower(limit, rate if goes else 0))


def _faster(plan: Plan, connection: Database) -> str:
    return _tuned(plan, connection, tuning.faster)


def _tuned(plan: Plan, connection: Database, to: Callable[[int | None], int]) -> str:
    was = ledger.read(connection, plan.name).settings.rows_per_second
    found = steering.tune(plan, connection, {"rows_per_second": str(to(was))})
    now, before = found.settings.rows_per_second, "no limit" if was is None else f"{was:,}"
    return f"at most {now:,} rows/s, before {before}; `tenantry tune rows_per_second=` gives the plan's back"


#: What each key does, and what that is called.
ACTIONS: dict[str, tuple[str, Callable[[Plan, Database], str]]] = {
    "p": ("pause", _pause),
    "r": ("resume", _resume),
    "+": ("faster", _faster),
    "=": ("faster", _faster),  # + without the shift key
    "-": ("slower", _slower),
}


def act(key: str, file: Path) -> str:
    """Do what a key does, on a connection of its own, and say what that was.

    The plan is read anew, as it is by the command `tune`: whoever watches for days would else bring back what
    its file said when they began.

    Raises:
        TenantryError: it can't be done now.
        psycopg.Error, sqlite3.Error: the database ended it.
    """
    plan = read_plan(file)
    what, does = ACTIONS[key]
    with closing(connect(plan.database.url.get_secret_value(), what)) as connection:
        return does(plan, connection)


class Hand:
    """Does what is pressed in a thread, one after the other; `said` is how that stands."""

    def __init__(self, does: Callable[[str], str]) -> None:
        self.said = ""
        self._does = does
        self._pressed: queue.Queue[str | None] = queue.Queue()

    def press(self, key: str) -> None:
        """Do what a key does as soon as what was pressed before is done; any other key does nothing."""
        if key in ACTIONS and self._pressed.qsize() < _WAITING:
            self._pressed.put(key)

    @contextmanager
    def at_work(self, patience: float) -> Iterator[None]:
        """Do what is pressed for as long as the body runs; what is left has `patience` seconds to end."""
        thread = threading.Thread(target=self._work, name="tenantry keys", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._pressed.put(None)
            thread.join(patience)

    def _work(self) -> None:
        while (key := self._pressed.get()) is not None:
            what, asked = ACTIONS[key][0], f"{datetime.now(UTC):%H:%M:%S}"
            self.said = f"{asked} {what}: no answer yet"
            try:
                self.said = f"{asked} {self._does(key)}"
            except (TenantryError, psycopg.Error, sqlite3.Error, OSError) as error:
                self.said = f"{asked} {what} failed: {told(error)}"
                self._forget()

    def _forget(self) -> None:
        """Leave undone what was pressed meanwhile: nobody knew yet that the key before it would fail."""
        with suppress(queue.Empty):
            while self._pressed.get_nowait() is not None:
                pass
            self._pressed.put(None)


def told(error: Exception) -> str:
    """An error in one line, without passwords."""
    known = ended("it", error) if isinstance(error, psycopg.Error) else error
    return mask(" ".join(str(known).split()))
