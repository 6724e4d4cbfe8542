"""How a migration stands, read from the ledger: for the display, the exporter and `--json` alike."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import Field

from control import building, governed, holds, unscoped
from control.building import Building
from control.governed import GovernorStatus
from control.holds import Fact, Waiting
from control.plan.begun import KEPT_AS, isolation_of
from control.plan.model import Plan
from control.plan.sections import Isolation
from control.unscoped import Unscoped
from sql.database import Database
from sql.job import JobSpec
from sql.ledger import JOBS, meant, send
from sql.postgres.connection import Connection
from sql.postgres.session import updates, updates_since
from sql.sqlite.connection import File
from sql.sqlite.session import holder
from worker import ledger, outbox
from worker.governor.signals import SIGNALS

#: The stages in order, where all tenants stay in one table; the conductor holds one module for each.
STAGES = ("preflight", "backup", "columns", "backfill", "indexes", "application", "keys", "rls", "verify")
#: The same where each tenant gets a schema of its own.
SEPARATE_STAGES = (
    "preflight",
    "backup",
    "columns",
    "backfill",
    "schemas",
    "application",
    "switch",
    "verify",
)


#: The same for a SQLite file, which has no row-level security.
FILE_STAGES = ("preflight", "backup", "columns", "backfill", "indexes", "application", "keys", "verify")

#: The last stage of each: it looks at all that the others left.
LAST = "verify"


def stages_of(isolation: Isolation) -> tuple[str, ...]:
    """The stages of a migration, in order."""
    return SEPARATE_STAGES if isolation == "separate_schema" else STAGES


def stages_of_plan(plan: Plan) -> tuple[str, ...]:
    """The stages of a plan's migration, in order."""
    return FILE_STAGES if plan.on_file else stages_of(plan.tenant.isolation)


_BATCH_STATES = ("pending", "done", "split", "quarantined")

Known = TypeVar("Known")


class StageStatus(Fact):
    """A stage; `detail` says why it waits or failed, `closed_since` since when its gate is closed."""

    name: str
    state: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    closed_since: datetime | None = None
    detail: str | None = None


class PartStatus(Fact):
    """A leaf partition's backfill, or a whole table's; `seconds` is how long it took so far.

    `paging` is `contiguous`, `striped` or `pages`, and `why` its reason; `batch_rows` is what the next
    batches are cut to; `reason` is why it stopped itself.
    """

    name: str
    state: str = "waiting"
    rows_total: int | None = None
    """None before its job has begun."""
    rows_done: int = 0
    rows_per_second: float = 0.0
    eta_seconds: float | None = None
    seconds: float = 0.0
    batches: dict[str, int] = Field(default_factory=dict)
    batch_rows: int | None = None
    paging: str | None = None
    why: str | None = None
    stripes: int | None = None
    heap_only_share: float | None = None
    """Of the updates since it began, the application's included, those that stayed in their page; 0 to 1."""
    reason: str | None = None

    @property
    def rows_remaining(self) -> int | None:
        """Rows that still need their tenant, never below zero: the total is an estimate."""
        if self.rows_total is None:
            return None
        return 0 if self.state == "complete" else max(0, self.rows_total - self.rows_done)


class TableStatus(PartStatus):
    """A table of the plan, its parts summed; paging and batch size are those of the part at work.

    `parts` is empty where the table is its own only part.
    """

    parts: tuple[PartStatus, ...] = ()


class Notifications(Fact):
    """Messages that the webhook has not got: those `due` it will, the rest never; `error` is of the last."""

    due: int = 0
    refused: int = 0
    given_up: int = 0
    error: str | None = None


class Status(Fact):
    """A migration. Lag means both: the replicas', and the age of the oldest pending batch; all in seconds."""

    migration: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    stages: list[StageStatus]
    tables: list[TableStatus]
    held: str | None
    """Why a worker lets no batch go, the one that holds longest; `workers_holding` do."""
    workers_holding: int = 0
    governor: GovernorStatus | None = None
    tuned: dict[str, Any] = Field(default_factory=dict)
    """What is in force in place of the plan's own, by the plan's names."""
    quarantine: int
    """Rows set aside; `control.holds` lists them."""
    waiting: tuple[Waiting, ...] = ()
    """Batches that wait after a failure."""
    building: tuple[Building, ...] = ()
    """The indexes that are being built."""
    unscoped: tuple[Unscoped, ...] = ()
    """Who comes to the tables without a tenant, while that is counted."""
    oldest_pending_seconds: float | None
    last_progress_at: datetime | None
    replica_lag_seconds: float | None
    """As the governor sees it; None where it does not sample, or no standby is known to it."""
    replica_lag_bytes: float | None
    workers_alive: int
    notifications: Notifications = Notifications()


def read(connection: Database, migration: str) -> Status:
    """Read the status of a migration.

    Raises:
        NoMigrationError: the ledger doesn't know it.
    """
    found = ledger.read(connection, migration)
    recorded = ledger.stages(connection, found.id)
    beside = _beside_file(connection) if isinstance(connection, File) else _beside(connection, found.id)
    jobs = _jobs(connection, found.id, beside.updates)
    holding = ledger.holding(connection, found.id)
    governor = governed.read(connection, found.id, found.settings)
    every = [job for each in jobs.values() for job in each]
    begun = ledger.Memory(connection, found.id).recall(KEPT_AS) or {}
    return Status(
        migration=found.name,
        state=found.state,
        started_at=found.started_at,
        finished_at=found.finished_at,
        stages=[_stage(name, recorded.get(name)) for name in _stages(connection, begun)],
        tables=[_table(name, jobs.get(name, [])) for name in found.tables],
        held=holding[0].reason if holding else None,
        workers_holding=len(holding),
        governor=governor,
        tuned=found.tuned,
        quarantine=send(connection, JOBS.count_quarantined, migration=found.id)[0]["count"],
        waiting=holds.waiting(connection, found.id),
        building=beside.building,
        unscoped=beside.unscoped,
        oldest_pending_seconds=max(_known(job.oldest_pending_seconds for job in every), default=None),
        last_progress_at=max(_known(job.last_progress_at for job in every), default=None),
        replica_lag_seconds=governor.now("lag") if governor else None,
        replica_lag_bytes=governor.now("lag_bytes") if governor else None,
        workers_alive=beside.workers,
        notifications=_notifications(outbox.outbox(connection, found.id)),
    )


def _notifications(found: outbox.Outbox) -> Notifications:
    return Notifications(due=found.due, refused=found.refused, given_up=found.given_up, error=found.error)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside the ledger, in the server itself; `updates` by job: all, and those in their page."""

    workers: int
    updates: dict[int, tuple[int, int]] = field(default_factory=dict)
    building: tuple[Building, ...] = ()
    unscoped: tuple[Unscoped, ...] = ()


def _beside(connection: Connection, migration: int) -> _Beside:
    alive = connection.execute(SIGNALS.workers.compose()).fetchone()
    return _Beside(
        workers=int(alive[0]) if alive else 0,
        updates=updates_since(connection, migration),
        building=building.read(connection, migration),
        unscoped=unscoped.read(connection, ledger.Memory(connection, migration)),
    )


def _beside_file(file: File) -> _Beside:
    """A file has one process at work, the run's own."""
    return _Beside(workers=0 if holder(file.path) is None else 1)


def _stages(connection: Database, begun: dict[str, Any]) -> tuple[str, ...]:
    return FILE_STAGES if isinstance(connection, File) else stages_of(isolation_of(begun))


def _stage(name: str, record: ledger.StageRecord | None) -> StageStatus:
    if record is None:
        return StageStatus(name=name, state="open")
    return StageStatus(
        name=name,
        state=record.state,
        started_at=record.started_at,
        finished_at=record.finished_at,
        closed_since=record.closed_since,
        detail=record.detail,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A job's progress, with what its table is summed from."""

    status: PartStatus
    begun: float
    """When, as a Unix time by the server's clock."""
    held: float
    """Seconds since then in which every worker was held."""
    updated: int | None
    heap_only: int
    oldest_pending_seconds: float | None
    last_progress_at: datetime | None


def _jobs(connection: Database, migration: int, updates: dict[int, tuple[int, int]]) -> dict[str, list[_Job]]:
    """The jobs by table, in the order in which they were begun."""
    found: dict[str, list[_Job]] = {}
    for row in send(connection, JOBS.progress, migration=migration):
        updated, heap_only = updates.get(row["id"], (None, 0))
        found.setdefault(row["table_name"], []).append(
            _Job(
                _part(row, _ratio(heap_only, updated)),
                row["started_at"].timestamp(),
                row["held_seconds"],
                updated,
                heap_only,
                row["oldest_pending_seconds"],
                row["last_progress_at"],
            )
        )
    return found


def _part(row: dict[str, Any], heap_only_share: float | None) -> PartStatus:
    complete = row["state"] == "complete"
    running = max(row["running_seconds"], 0.001)
    at_work = max(row["running_seconds"] - row["held_seconds"], 0.001)
    rate = row["rows_done"] / at_work if complete else row["rows_last_10_seconds"] / min(10.0, running)
    spec = meant(JobSpec, row["spec"], f"jobs.spec ({row['part']})", None)
    return PartStatus(
        name=row["part"],
        state=row["state"],
        rows_total=row["rows_total"],
        rows_done=row["rows_done"],
        rows_per_second=rate,
        eta_seconds=None if complete else eta(row["rows_total"], row["rows_done"], at_work),
        seconds=running,
        batches={state: row[state] for state in _BATCH_STATES},
        batch_rows=row["batch_rows"],
        paging=spec.paging,
        why=row["why"],
        stripes=spec.stripes,
        heap_only_share=heap_only_share,
        reason=row["reason"],
    )


def _table(name: str, jobs: Sequence[_Job]) -> TableStatus:
    """Sum a table's parts. They are filled one after the other, so that its rate is that of those at work."""
    if not jobs:
        return TableStatus(name=name)
    parts = tuple(job.status for job in jobs)
    if len(parts) == 1:
        return TableStatus(**parts[0].model_dump() | {"name": name})
    open_ = [part for part in parts if part.state != "complete"]
    stopped = [part for part in parts if part.state == "stopped"]
    at_work = next(iter(stopped or open_), parts[-1])
    began = min(job.begun for job in jobs)
    seconds = max(job.begun + job.status.seconds for job in jobs) - began
    at_work_for = max(seconds - sum(job.held for job in jobs), 0.001)
    total, done = sum(part.rows_total or 0 for part in parts), sum(part.rows_done for part in parts)
    rate = sum(part.rows_per_second for part in open_) if open_ else done / at_work_for
    counted = [job for job in jobs if job.updated is not None]
    return TableStatus(
        name=name,
        state=at_work.state,
        rows_total=total,
        rows_done=done,
        rows_per_second=rate,
        eta_seconds=eta(total, done, at_work_for) if open_ else None,
        seconds=seconds,
        batches={state: sum(part.batches[state] for part in parts) for state in _BATCH_STATES},
        batch_rows=at_work.batch_rows,
        paging=at_work.paging,
        why=at_work.why,
        stripes=at_work.stripes,
        heap_only_share=_ratio(
            sum(job.heap_only for job in counted), sum(job.updated or 0 for job in counted)
        ),
        reason=at_work.reason,
        parts=parts,
    )


def _ratio(heap_only: int, updated: int | None) -> float | None:
    """The share of updates that stayed in their page; None where there was none, or they were not counted."""
    return heap_only / updated if updated is not None and updated > 0 else None


def _known(values: Iterable[Known | None]) -> Iterator[Known]:
    return (value for value in values if value is not None)


def eta(total: int, done: int, running: float) -> float | None:
    """Seconds to the end at the rate so far, while not held; None until that rate means something.

    That is after a minute (lessons: spirit), or after a tenth of the rows: a table that is done within the
    minute would else never show one.
    """
    if done <= 0 or (running < 60 and done * 10 < total):
        return None
    return max(0, total - done) / (done / running)


def remember_updates(connection: Connection, migration: int, part: str, spec: JobSpec) -> None:
    """Keep a part's counters as they are before its first batch; `updates_since` counts from them."""
    updated, heap_only = updates(connection, spec.schema_, spec.table)
    ledger.Memory(connection, migration).remember(
        f"updates of {part}", {"updated": updated, "heap_only": heap_only}
    )
