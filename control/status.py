"""How a migration stands, read from the ledger: for the display, the exporter and `--json` alike."""

from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict

from sql.job import JobSpec
from sql.postgres.connection import Connection
from sql.postgres.ledger import send
from sql.postgres.session import updates
from worker import ledger
from worker.governor.signals import SIGNALS

#: The stages in order; the conductor holds one module for each.
STAGES = ("preflight", "backup", "columns", "backfill", "indexes", "application", "keys", "rls", "verify")


class _Fact(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageStatus(_Fact):
    """A stage; `detail` says why it waits or failed."""

    name: str
    state: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    detail: str | None = None


class TableStatus(_Fact):
    """A table's backfill. `rows_total` is None before its job has begun; shares are 0 to 1."""

    name: str
    state: str = "waiting"
    rows_total: int | None = None
    rows_done: int = 0
    rows_per_second: float = 0.0
    eta_seconds: float | None = None
    seconds: float = 0.0
    batches: dict[str, int] = {}
    batch_rows: int | None = None
    stripes: int | None = None
    heap_only_share: float | None = None

    @property
    def rows_remaining(self) -> int | None:
        """Rows that still need their tenant, never below zero: the total is an estimate."""
        if self.rows_total is None:
            return None
        return 0 if self.state == "complete" else max(0, self.rows_total - self.rows_done)


class Status(_Fact):
    """A migration. Lag means both: the replicas', and the age of the oldest pending batch; all in seconds."""

    migration: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    stages: list[StageStatus]
    tables: list[TableStatus]
    held: str | None
    quarantine: int
    oldest_pending_seconds: float | None
    last_progress_at: datetime | None
    replica_lag_seconds: float | None
    replica_lag_bytes: float | None
    workers_alive: int


def read(connection: Connection, migration: str) -> Status:
    """Read the status of a migration.

    Raises:
        NoMigrationError: the ledger doesn't know it.
    """
    found = ledger.read(connection, migration)
    recorded = ledger.stages(connection, found.id)
    progress = {row["table_name"]: row for row in send(connection, "progress", migration=found.id)}
    with connection.cursor(row_factory=dict_row) as cursor:
        replication = cursor.execute(SIGNALS.replication.compose()).fetchone() or {}
    alive = connection.execute(SIGNALS.workers.compose()).fetchone()
    oldest = [
        row["oldest_pending_seconds"]
        for row in progress.values()
        if row["oldest_pending_seconds"] is not None
    ]
    last = [row["last_progress_at"] for row in progress.values() if row["last_progress_at"] is not None]
    return Status(
        migration=found.name,
        state=found.state,
        started_at=found.started_at,
        finished_at=found.finished_at,
        stages=[_stage(name, recorded.get(name)) for name in STAGES],
        tables=[_table(connection, found.id, name, progress.get(name)) for name in found.tables],
        held=found.held["reason"] if found.held else None,
        quarantine=send(connection, "count_quarantined", migration=found.id)[0]["count"],
        oldest_pending_seconds=max(oldest, default=None),
        last_progress_at=max(last, default=None),
        replica_lag_seconds=replication.get("seconds"),
        replica_lag_bytes=replication.get("bytes"),
        workers_alive=int(alive[0]) if alive else 0,
    )


def _stage(name: str, record: ledger.StageRecord | None) -> StageStatus:
    if record is None:
        return StageStatus(name=name, state="open")
    return StageStatus(
        name=name,
        state=record.state,
        started_at=record.started_at,
        finished_at=record.finished_at,
        detail=record.detail,
    )


def _table(connection: Connection, migration: int, name: str, row: dict[str, Any] | None) -> TableStatus:
    if row is None:
        return TableStatus(name=name)
    complete = row["state"] == "complete"
    running = max(row["running_seconds"], 0.001)
    rate = row["rows_done"] / running if complete else row["rows_last_10_seconds"] / min(10.0, running)
    spec = JobSpec.model_validate(row["spec"])
    return TableStatus(
        name=name,
        state=row["state"],
        rows_total=row["rows_total"],
        rows_done=row["rows_done"],
        rows_per_second=rate,
        eta_seconds=None if complete else eta(row["rows_total"], row["rows_done"], running),
        seconds=running,
        batches={state: row[state] for state in ("pending", "done", "split", "quarantined")},
        batch_rows=row["batch_rows"],
        stripes=spec.stripes,
        heap_only_share=_heap_only_share(connection, migration, name, spec),
    )


def eta(total: int, done: int, running: float) -> float | None:
    """Seconds to the end at the rate so far; None until that rate means something.

    That is after a minute (lessons: spirit), or after a tenth of the rows: a table that is done within the
    minute would else never show one.
    """
    if done <= 0 or (running < 60 and done * 10 < total):
        return None
    return max(0, total - done) / (done / running)


def remember_updates(connection: Connection, migration: int, table: str, spec: JobSpec) -> None:
    """Keep a table's counters as they are before its first batch."""
    updated, heap_only = updates(connection, spec.schema_, spec.table)
    ledger.Memory(connection, migration).remember(
        f"updates of {table}", {"updated": updated, "heap_only": heap_only}
    )


def _heap_only_share(connection: Connection, migration: int, table: str, spec: JobSpec) -> float | None:
    """The share of updates since the job began that stayed in their page, the application's included."""
    kept = ledger.Memory(connection, migration).recall(f"updates of {table}")
    if kept is None:
        return None
    updated, heap_only = updates(connection, spec.schema_, spec.table)
    if updated <= kept["updated"]:
        return None
    return float((heap_only - kept["heap_only"]) / (updated - kept["updated"]))
