"""What the exporter shows beside the status: facts that a terminal has no room for, asked once a scrape."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from control import budget, names
from control.budget import Spent
from sql.database import Database
from sql.ledger import LEDGER, send
from sql.postgres import exported, guard, rls, surroundings
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from sql.postgres.session import has_migration
from sql.sqlite import guard as file_guard
from sql.sqlite.connection import File
from sql.sqlite.names import folded
from sql.sqlite.preflight import settings
from sql.sqlite.session import holder
from worker import ledger
from worker.ledger import Memory, Migration


@dataclass(frozen=True, slots=True)
class Beside:
    """Facts of one moment, by the plan's names of tables; waits are seconds.

    `events` holds when one of each kind was last written; `controllers` is 1 while a command has the
    migration. A SQLite file has no indexes that are not valid, and shows nobody who waits. `spent` is None
    for a migration that keeps no budget. `unscoped` holds accesses by role as the server counts them: the
    ledger is brought up to that only while a run looks.
    """

    events: dict[str, datetime]
    controllers: int
    guard_uses: dict[str, int]
    spent: Spent | None
    invalid_indexes: dict[str, int] = field(default_factory=dict)
    lock_waits: dict[str, float] = field(default_factory=dict)
    unscoped: dict[str, int] = field(default_factory=dict)
    strict: bool = False


def read(connection: Database, migration: str) -> Beside:
    """Read it.

    Raises:
        NoMigrationError: the ledger doesn't know it.
    """
    found = ledger.read(connection, migration)
    events = {row["kind"]: row["at"] for row in send(connection, LEDGER.last_events, migration=found.id)}
    memory = Memory(connection, found.id)
    if isinstance(connection, File):
        return Beside(
            events=events,
            controllers=0 if holder(connection.path) is None else 1,
            guard_uses=_used_in_file(connection, found),
            spent=budget.spent(memory, disk=settings(connection).bytes_, wal=None),
        )
    now = surroundings.position(connection)
    original = found.before(Catalog)
    return Beside(
        events=events,
        controllers=0 if has_migration(connection, migration) is None else 1,
        guard_uses=_used(connection, original),
        spent=budget.spent(memory, disk=now.disk, wal=now.wal),
        invalid_indexes=exported.invalid_indexes(
            connection, {name: table.identifier.as_string() for name, table in original.tables.items()}
        ),
        lock_waits=exported.lock_waits(connection),
        unscoped=_unscoped(connection),
        strict=rls.unseeing(connection),
    )


def _unscoped(connection: Connection) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in rls.unscoped_roles(connection):  # several that are gone have one name
        found[one.role] += one.calls
    return dict(found)


def _used(connection: Connection, original: Catalog) -> dict[str, int]:
    uses = guard.uses(connection)
    counted = ((name, names.guard(table)) for name, table in original.tables.items())
    return {name: uses[sequence] for name, sequence in counted if sequence in uses}


def _used_in_file(file: File, migration: Migration) -> dict[str, int]:
    if not file_guard.is_there(file):
        return {}
    uses = {folded(name): use.uses for name, use in file_guard.uses(file).items()}
    return {name: uses[folded(name)] for name in migration.tables if folded(name) in uses}
