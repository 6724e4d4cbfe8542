"""Jobs and their batches: what is to be filled and what is filled, in the ledger.

A batch is done when its row says so, and its row says so in the same transaction that changed the data.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from sql.database import Database
from sql.job import JobSpec, Key, Kind, Range
from sql.ledger import JOBS, meant, send, send_each
from sql.sqlite.ledger import JOBS as FILE_JOBS
from worker.ledger import MigrationState, Settings


@dataclass(frozen=True, slots=True)
class Job:
    """A row of `tenantry.jobs`: the work on one table, or on one leaf partition of it (`part`, quoted).

    `last_key` is the frozen bound, a key or a place in the heap as the job is paged; None for an empty table.
    """

    id: int
    table: str
    part: str
    kind: str
    state: Literal["running", "stopped", "complete"]
    spec: JobSpec
    last_key: Key | None
    planned_to: Key | None
    planned: bool
    batch_rows: int
    rows_total: int
    sweeps: int
    started_at: datetime
    reason: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch still to be done; `waited` are the seconds since it was rung for, when it was read."""

    id: int
    job: int
    range: Range
    rings: int
    waited: float = 0.0


def add(
    connection: Database,
    migration: int,
    *,
    table: str,
    part: str,
    spec: JobSpec,
    last_key: Key | None,
    batch_rows: int,
    rows_total: int,
    why: str,
    state: Literal["running", "complete"] = "running",
) -> None:
    """Record a part's work with its frozen bound, and why it is paged as it is.

    A job that is there already stays as it is.
    """
    send(
        connection,
        JOBS.add,
        migration=migration,
        table=table,
        part=part,
        kind=spec.kind,
        state=state,
        spec=Jsonb(spec.model_dump()),
        last_key=last_key,
        batch_rows=batch_rows,
        rows_total=rows_total,
        why=why,
    )


def _job(row: dict[str, Any]) -> Job:
    same = ("id", "part", "kind", "state", "last_key", "planned_to", "planned", "sweeps", "started_at")
    fields = {name: row[name] for name in same}
    return Job(
        **fields,
        table=row["table_name"],
        spec=meant(JobSpec, row["spec"], f"jobs.spec (job {row['id']})", None),
        batch_rows=row["batch_rows"],
        rows_total=row["rows_total"],
        reason=row["reason"],
    )


def of_migration(connection: Database, migration: int) -> list[Job]:
    """The jobs that fill a migration's tables, or empty them, in the order in which they were begun."""
    return [_job(row) for row in send(connection, JOBS.of_migration, migration=migration)]


def of_kind(connection: Database, migration: int, kind: Kind) -> list[Job]:
    """The jobs of one kind, in the order in which they were begun."""
    return [_job(row) for row in send(connection, JOBS.of_kind, migration=migration, kind=kind)]


def rows_done(connection: Database, job_id: int) -> int:
    """How many rows the batches of a job have written."""
    return int(send(connection, JOBS.rows_done, job=job_id)[0]["rows"])


def of_parts(connection: Database, migration: int, parts: Sequence[str]) -> dict[str, Job]:
    """The jobs of those parts that have one, by part."""
    found = send(connection, JOBS.of_parts, migration=migration, parts=list(parts))
    return {row["part"]: _job(row) for row in found}


def read(connection: Database, job_id: int) -> Job:
    """One job."""
    return _job(send(connection, JOBS.by_id, job=job_id)[0])


@dataclass(frozen=True, slots=True)
class Standing:
    """A job, and what the operator wants of its migration now."""

    job: Job
    state: MigrationState
    settings: Settings


def standing(connection: Database, job_id: int) -> Standing:
    """A job as it stands; one statement, for the controller asks ten times a second."""
    (row,) = send(connection, JOBS.standing, job=job_id)
    return Standing(
        _job(row), row["migration_state"], meant(Settings, row["settings"], "migrations.settings", None)
    )


def forget(connection: Database, migration: int) -> None:
    """Delete the jobs with their batches: the column they filled is gone."""
    send(connection, JOBS.forget, migration=migration)


def forget_kind(connection: Database, migration: int, kind: Kind) -> None:
    """Delete the jobs of one kind with their batches."""
    send(connection, JOBS.forget_kind, migration=migration, kind=kind)


def forget_parts(connection: Database, migration: int, table: str, there: Sequence[str]) -> list[str]:
    """Delete a table's jobs for parts that are not `there` any more, and say which: dropped, or detached."""
    return [
        row["part"]
        for row in send(connection, JOBS.forget_parts, migration=migration, table=table, there=list(there))
    ]


def is_there(connection: Database, part: str) -> bool:
    """Whether a job still has its table."""
    return bool(send(connection, JOBS.is_there, part=part)[0]["there"])


def set_state(
    connection: Database,
    job_id: int,
    state: Literal["running", "stopped", "complete"],
    reason: str | None = None,
) -> None:
    """Set a job's state, and why."""
    send(connection, JOBS.set_state, job=job_id, state=state, reason=reason)


def stop_refused(connection: Database, batch: Batch, reason: str) -> bool:
    """Stop a running job where its batch was refused the last time too; whether it is stopped by this.

    Call it before this attempt is written. A name or a right may be gone for a
    moment, as between DROP and CREATE, or between REVOKE and GRANT.
    """
    return bool(send(connection, JOBS.stop_refused, job=batch.job, batch=batch.id, reason=reason))


@dataclass(frozen=True, slots=True)
class Released:
    """What a retry let go: rows out of quarantine, and batches that go at once, theirs among them."""

    rows: int
    batches: int


def release(connection: Database, migration: int) -> Released:
    """Take all rows out of quarantine, let waiting batches go at once, and stopped jobs go on."""
    return Released(**send(connection, JOBS.release, migration=migration)[0])


def add_batches(
    connection: Database, job_id: int, ranges: Iterable[Range], origin: Literal["plan", "sweep"]
) -> list[int]:
    """Record batches; their ids in order. Call it in a transaction with the cursor that they advance."""
    parameters = [{"job": job_id, "origin": origin, **r.model_dump()} for r in ranges]
    return [row["id"] for row in send_each(connection, JOBS.add_batch, parameters)]


def advance(
    connection: Database, job_id: int, *, planned_to: Key | None, planned: bool, batch_rows: int
) -> None:
    """Move a job's planning cursor."""
    send(connection, JOBS.advance, job=job_id, planned_to=planned_to, planned=planned, batch_rows=batch_rows)


def _batch(row: dict[str, Any]) -> Batch:
    range_ = Range(by=row["by"], lower=row["lower"], upper=row["upper"], stripe=row["stripe"])
    return Batch(row["id"], row["job_id"], range_, row["rings"], row.get("waited", 0.0))


def slice_of(connection: Database, first: int, last: int) -> list[Batch]:
    """The batches from `first` to `last` that are still to be done."""
    return [_batch(row) for row in send(connection, JOBS.slice, first=first, last=last)]


def lost(connection: Database, job_id: int, times: int) -> list[Batch]:
    """The batches that were begun `times` times after a second ring, each time with no outcome."""
    return [_batch(row) for row in send(connection, JOBS.lost, job=job_id, times=times)]


def due(connection: Database, job_id: int) -> Batch | None:
    """The next batch of a job that may go, on a SQLite file, where nobody rings."""
    rows = send(connection, FILE_JOBS.due, job=job_id)
    return _batch(rows[0]) if rows else None
