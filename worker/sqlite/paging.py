"""Cuts a table of a SQLite file into batches: ranges of its rowid or its key, one after the other."""

from collections.abc import Sequence
from typing import Any

from sql.job import JobSpec, Key, Range
from sql.sqlite.batch import JobSQL
from sql.sqlite.connection import File
from worker import jobs
from worker.jobs import Job
from worker.paging import CONTIGUOUS


def key_in(row: dict[str, Any]) -> Key:
    """The key in a row of a statement: its columns are called `k0`, `k1` and so on, and nothing else is."""
    return [row[f"k{at}"] for at in range(len(row))]


def last_key(file: File, spec: JobSpec) -> Key | None:
    """The highest key: the frozen bound. None for an empty table."""
    rows = file.rows(JobSQL(spec).last_key())
    return key_in(rows[0]) if rows else None


def count_rows(file: File, spec: JobSpec) -> int:
    """How many rows a table has."""
    return int(file.value(JobSQL(spec).count_rows()))


def plan_group(file: File, job: Job, *, batch_rows: int, ranges: int = CONTIGUOUS) -> None:
    """Plan the next ranges of a job and move its cursor, in one transaction.

    Raises:
        ValueError: the job has no last key; it has nothing to cut.
        FileBusyError: another writer had the file for longer than the busy timeout.
    """
    if job.last_key is None:
        raise ValueError(f"job {job.id} has no last key")
    # Read first: a writer would have to wait for it, in the transaction.
    bounds = _uppers(file, job, job.last_key, batch_rows, ranges)
    with file.transaction():
        jobs.add_batches(file, job.id, _ranges(job.planned_to, bounds), "plan")
        jobs.advance(
            file, job.id, planned_to=bounds[-1], planned=bounds[-1] == job.last_key, batch_rows=batch_rows
        )


def _uppers(file: File, job: Job, last: Key, width: int, ranges: int) -> list[Key]:
    statement = JobSQL(job.spec).edges(job.planned_to, last)
    found = [key_in(row) for row in file.rows(statement, {"width": width, "rows": width * ranges})]
    # Nothing says that the row with the last key is still there; and those above it have their tenant.
    if len(found) < ranges and last not in found:
        found.append(last)
    return found


def _ranges(lower: Key | None, bounds: Sequence[Key]) -> list[Range]:
    return [
        Range(by="key", lower=below, upper=upper, stripe=None)
        for below, upper in zip([lower, *bounds], bounds, strict=False)
    ]
