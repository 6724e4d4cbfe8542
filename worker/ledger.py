"""The ledger in the target database's schema `tenantry`: a migration, its stages, its pace, and who holds.

It is the only truth. The queue may be flushed at any moment; a process may die at any moment. What is to be
filled, and what is filled, is in `worker.jobs`; who did what, in `worker.audit`.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

from psycopg.errors import LockNotAvailable
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from sql.database import Database
from sql.errors import FileBusyError, LedgerVersionError, MigrationHeldError, NoMigrationError
from sql.ledger import LEDGER, meant, send
from worker import version
from worker.governor.limits import Limit, Sample, SignalName

MigrationState = Literal["running", "paused", "cancelled", "rolling back", "complete"]
StageState = Literal["open", "running", "waiting", "done", "failed"]

#: How many holds are kept of a migration, and how many pieces of time of its pace. 2 MB at most.
HOLDS, PACES = 2_000, 4_000


class Settings(BaseModel):
    """What workers need of the plan, kept in the ledger; `target` is a batch's duration in seconds.

    A signal without a limit is not judged. `unreadable` says what becomes of one that has a limit and can't
    be read; `query` gives the signal of that name; `active` are the hours in which batches may go.
    """

    model_config = ConfigDict(frozen=True)

    target: float
    synchronous_commit: Literal["on", "off"]
    throttle: bool
    limits: dict[SignalName, Limit]
    unreadable: Literal["hold", "ignore"] = "ignore"
    rows_per_second: int | None = None
    wal_per_second: int | None = None
    query: str | None = None
    active: tuple[str, ...] = ()
    standbys: tuple[str, ...] = ()
    """Names of the standbys that streamed when the run began: one that is gone is lag."""
    timeline: int | None = None
    """The server's timeline then: each failover since took one of them away, which is the primary now."""
    forget_standbys: tuple[str, ...] = ()
    """Names of those that were taken away for good: gone, they are no lag."""
    workers: int | None = None
    """How many processes a pool shall have; None leaves it as it was started."""

    @property
    def sampled(self) -> bool:
        """Whether the database is looked at: to judge it, or for what a row costs in WAL."""
        return self.throttle or self.wal_per_second is not None


#: What the columns of `migrations` that hold JSON mean.
_JSON: dict[str, Any] = {
    "tables": list[str],
    "original": dict[str, Any],
    "settings": Settings,
    "tuned": dict[str, Any],
    "held": dict[str, Any] | None,
}

#: The catalog of a server, or of a file.
_C = TypeVar("_C")


@dataclass(frozen=True, slots=True)
class Migration:
    """A row of `tenantry.migrations`; `original` is the catalog before the first step, as JSON.

    `tuned` is what the operator has set in place of the plan's, by the plan's names.
    """

    id: int
    name: str
    state: MigrationState
    tables: list[str]
    original: dict[str, Any]
    settings: Settings
    tuned: dict[str, Any]
    held: dict[str, Any] | None
    started_at: datetime
    finished_at: datetime | None

    def before(self, kind: type[_C]) -> _C:
        """The catalog before the first step; `kind` is the one of the database's kind.

        Raises:
            LedgerGarbledError: what is on record is none.
        """
        return meant(kind, self.original, "migrations.original", self.name)


@dataclass(frozen=True, slots=True)
class StageRecord:
    """A row of `tenantry.stages`; `closed_since` is None for one whose gate is open."""

    name: str
    state: StageState
    confirmed_by: str | None
    confirmed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    closed_since: datetime | None
    detail: str | None


def exists(connection: Database) -> bool:
    """Whether this database has a ledger.

    Raises:
        LedgerVersionError: it has one of another version.
    """
    found = version.of(connection)
    if found not in {None, version.VERSION}:
        raise LedgerVersionError(found, version.VERSION)
    return found is not None


def begin(
    connection: Database, *, name: str, tables: list[str], original: dict[str, Any], settings: Settings
) -> Migration:
    """Record a migration, or take it up again: the tables and the original stay those of the first time."""
    send(
        connection,
        LEDGER.begin_migration,
        name=name,
        tables=Jsonb(tables),
        original=Jsonb(original),
        settings=Jsonb(settings.model_dump()),
    )
    return read(connection, name)


def find(connection: Database, name: str) -> Migration | None:
    """Look for a migration; None where the ledger isn't there, or doesn't know it.

    Raises:
        LedgerGarbledError: what the ledger has of it can't be read.
        LedgerVersionError: the ledger is of another version.
    """
    if not exists(connection):
        return None
    rows = send(connection, LEDGER.migration, name=name)
    return _migration(rows[0]) if rows else None


def _migration(row: dict[str, Any]) -> Migration:
    return Migration(
        **{
            column: meant(_JSON[column], value, f"migrations.{column}", row["name"])
            if column in _JSON
            else value
            for column, value in row.items()
        }
    )


def read(connection: Database, name: str) -> Migration:
    """Read a migration.

    Raises:
        NoMigrationError: the ledger isn't there, or doesn't know it.
    """
    found = find(connection, name)
    if found is None:
        raise NoMigrationError(name)
    return found


def hold(connection: Database, name: str) -> Migration:
    """Read a migration that nobody else changes before the end of the transaction that this is called in.

    Raises:
        NoMigrationError: the ledger isn't there, or doesn't know it.
        MigrationHeldError: somebody else holds it, and did not let go within 5 s.
    """
    if exists(connection):
        send(connection, LEDGER.wait_briefly)
        try:
            send(connection, LEDGER.hold_migration, name=name)
        except (LockNotAvailable, FileBusyError):
            raise MigrationHeldError(name) from None
    return read(connection, name)


def tune(connection: Database, migration: int, tuned: dict[str, Any], settings: Settings) -> None:
    """Keep what is tuned, and tell workers: they read it at their next batch."""
    send(
        connection,
        LEDGER.tune,
        migration=migration,
        tuned=Jsonb(tuned),
        settings=Jsonb(settings.model_dump(mode="json")),
    )


def workers(connection: Database, name: str) -> int | None:
    """How many processes a pool of this migration shall have; None: as many as it was started with."""
    rows = send(connection, LEDGER.workers, name=name) if exists(connection) else []
    return rows[0]["workers"] if rows else None


@dataclass(frozen=True, slots=True)
class Current:
    """What a worker reads before each batch of a job: the migration, and its settings as they are now.

    `job_started_at` tells a job from an earlier one of the same id: a ledger that was dropped and made again
    counts from 1.
    """

    id: int
    name: str
    settings: Settings
    job_started_at: datetime


def current(connection: Database, job_id: int) -> Current | None:
    """The migration of a job, or None where none of its batches may go."""
    rows = send(connection, LEDGER.current, job=job_id)
    if not rows:
        return None
    settings = meant(Settings, rows[0]["settings"], "migrations.settings", rows[0]["name"])
    return Current(**rows[0] | {"settings": settings})


def set_state(connection: Database, migration: int, state: MigrationState) -> None:
    """Set a migration's state; only while it is `running` a worker begins a batch."""
    send(connection, LEDGER.set_state, migration=migration, state=state)


def keep_tables(connection: Database, migration: int, tables: list[str]) -> None:
    """Leave only these of the tables that the migration was begun with."""
    send(connection, LEDGER.keep_tables, migration=migration, tables=Jsonb(tables))


def state(connection: Database, migration: int) -> MigrationState:
    """A migration's state as it is now."""
    found: MigrationState = send(connection, LEDGER.state, migration=migration)[0]["state"]
    return found


def forget(connection: Database, migration: int) -> None:
    """Delete a migration that was walked back to its start, and the ledger with the last of them."""
    # At once: killed in between, the next way back would find no migration, and leave an empty ledger there.
    with connection.transaction():
        send(connection, LEDGER.forget_migration, migration=migration)
        if send(connection, LEDGER.count_migrations)[0]["count"] == 0:
            send(connection, LEDGER.drop)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a stage keeps between two runs of the controller, by key."""

    connection: Database
    migration: int

    def remember(self, key: str, value: dict[str, Any]) -> None:
        """Keep a value under a key, in place of the one before."""
        send(self.connection, LEDGER.remember, migration=self.migration, key=key, value=Jsonb(value))

    def recall(self, key: str) -> dict[str, Any] | None:
        """The value kept under a key.

        Raises:
            LedgerGarbledError: it is none that was kept there.
        """
        found = send(self.connection, LEDGER.recall, migration=self.migration, key=key)
        value = found[0]["value"] if found else None
        return None if value is None else meant(dict[str, Any], value, f"migrations.memory ({key})", None)


def set_held(connection: Database, migration: int, worker: str, reason: str | None) -> None:
    """Record why a worker lets no batch go now, or that it does."""
    send(connection, LEDGER.set_held, migration=migration, worker=worker, reason=reason)
    if reason is not None:
        send(connection, LEDGER.trim_holds, migration=migration, most=HOLDS)


def clear_held(connection: Database, migration: int) -> None:
    """Record that nobody holds: there is nothing to hold any more."""
    send(connection, LEDGER.clear_held, migration=migration)


@dataclass(frozen=True, slots=True)
class Holding:
    """A living worker that lets no batch go, why and since when."""

    worker: str
    reason: str
    since: datetime


def holding(connection: Database, migration: int) -> list[Holding]:
    """The living workers that hold, the one that holds longest first."""
    return [Holding(**row) for row in send(connection, LEDGER.holding, migration=migration)]


def everybody_holds(connection: Database, migration: int) -> bool:
    """Whether there are workers, and none of them lets a batch go."""
    return bool(send(connection, LEDGER.everybody_holds, migration=migration)[0]["all"])


@dataclass(frozen=True, slots=True)
class GovernorRecord:
    """What the governor sampled last: its zone, the share of full speed, and the sample's age in seconds."""

    zone: str
    share: float
    reason: str
    sample: Sample
    age: float


def show_governor(
    connection: Database, migration: int, *, zone: str, share: float, reason: str, sample: Sample
) -> None:
    """Keep a sample in place of the one before, and in the history of the pace."""
    (row,) = send(
        connection,
        LEDGER.show_governor,
        migration=migration,
        zone=zone,
        share=share,
        reason=reason,
        sample=Jsonb(sample.model_dump(mode="json")),
    )
    if row["begun"]:
        send(connection, LEDGER.thin_paces, migration=migration, most=PACES)


def governor(connection: Database, migration: int) -> GovernorRecord | None:
    """The last sample; None before the first."""
    rows = send(connection, LEDGER.governor, migration=migration)
    if not rows:
        return None
    return GovernorRecord(**rows[0] | {"sample": meant(Sample, rows[0]["sample"], "governor.sample", None)})


def stages(connection: Database, migration: int) -> dict[str, StageRecord]:
    """The stages on record, by name."""
    return {row["name"]: StageRecord(**row) for row in send(connection, LEDGER.stages, migration=migration)}


def set_stage(
    connection: Database, migration: int, name: str, state: StageState, detail: str | None = None
) -> None:
    """Record a stage's state, and why it has it."""
    send(connection, LEDGER.set_stage, migration=migration, name=name, state=state, detail=detail)


def confirm(connection: Database, migration: int, stage: str, actor: str) -> None:
    """Record that an operator vouches for a stage's gate."""
    send(connection, LEDGER.confirm, migration=migration, name=stage, actor=actor)


def withdraw_confirmation(connection: Database, migration: int, stage: str) -> None:
    """Forget a confirmation: the way back takes the application back too."""
    send(connection, LEDGER.withdraw_confirmation, migration=migration, name=stage)
