"""All that an operator who watches a migration sees of it: its status, and what stands beside it."""

from dataclasses import dataclass

from control import status
from control.status import Status
from sql.database import Database
from sql.postgres.connection import Connection
from sql.sqlite.connection import File
from sql.sqlite.session import holder
from worker import audit, ledger
from worker.audit import Event
from worker.governor.signals import SIGNALS
from worker.ledger import Holding, Settings

#: How many of the last events are read: a tall terminal shows no more beside the rest.
EVENTS = 50
_PREFIX = "tenantry worker "


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """A living worker: why it holds and since when; else for how many seconds it has been at no statement.

    `idle` is 0 while it is at one, and None where this role may not see that.
    """

    name: str
    holding: Holding | None = None
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """A migration as it is watched; `settings` are those in force, `events` the last ones, oldest first."""

    status: Status
    settings: Settings
    events: tuple[Event, ...] = ()
    workers: tuple[WorkerStatus, ...] = ()


def read(connection: Database, migration: str) -> Sight:
    """Read what there is to see of a migration.

    Raises:
        NoMigrationError: the ledger doesn't know it.
    """
    found = ledger.read(connection, migration)
    return Sight(
        status=status.read(connection, migration),
        settings=found.settings,
        events=tuple(audit.newest_events(connection, found.id, EVENTS)),
        workers=tuple(_workers(connection, found.id)),
    )


def _workers(connection: Database, migration: int) -> list[WorkerStatus]:
    holding = ledger.holding(connection, migration)
    if isinstance(connection, File):
        run = holder(connection.path)
        return [] if run is None else [WorkerStatus(run, next(iter(holding), None), 0.0)]
    return _of_server(connection, {_as_seen(each.worker): each for each in holding})


def _of_server(connection: Connection, holding: dict[str, Holding]) -> list[WorkerStatus]:
    return [
        WorkerStatus(name, holding.get(name), 0.0 if at_work else seconds)
        for name, at_work, seconds in connection.execute(SIGNALS.each_worker.compose())
    ]


def _as_seen(worker: str) -> str:
    """A worker's name as its connections bear it: the server cuts theirs off at 63 bytes."""
    return (_PREFIX + worker).encode()[:63].decode(errors="ignore").removeprefix(_PREFIX)
