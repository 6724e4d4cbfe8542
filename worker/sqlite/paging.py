"""Cuts a table of a SQLite file into batches: ranges of its rowid or its key, one after the other."""

from collections.abc import Sequence
from typing import Any

from sql.job import JobSpec, Key, Range
from sql.sqlite.batch import JobSQL
from sql.sqlite.connection import File
from worker import jobs
from worker.jobs import Job


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


def next_bounds(file: File, job: Job, width: int, ranges: int) -> list[Key]:
    """The upper bounds of the next ranges of a job, of so many rows each, the last one at the frozen bound.

    Read before the transaction that keeps them: a writer would have to wait for it.

    Raises:
        ValueError: the job has no last key; it has nothing to cut.
    """
    if job.last_key is None:
        raise ValueError(f"job {job.id} has no last key")
    job_sql, bounds, lower = JobSQL(job.spec), list[Key](), job.planned_to
    while len(bounds) < ranges and lower != job.last_key:
        found = file.rows(job_sql.edge(lower, job.last_key), {"between": width - 1})
        # Nothing says that the row with the last key is still there; and those above it have their tenant.
        lower = key_in(found[0]) if found else job.last_key
        bounds.append(lower)
    return bounds


def plan(file: File, job: Job, bounds: Sequence[Key], *, batch_rows: int) -> None:
    """Plan these ranges of a job and move its cursor. Call it in a transaction."""
    jobs.add_batches(file, job.id, _ranges(job.planned_to, bounds), "plan")
    jobs.advance(
        file, job.id, planned_to=bounds[-1], planned=bounds[-1] == job.last_key, batch_rows=batch_rows
    )


def _ranges(lower: Key | None, bounds: Sequence[Key]) -> list[Range]:
    return [
        Range(by="key", lower=below, upper=upper, stripe=None)
        for below, upper in zip([lower, *bounds], bounds, strict=False)
    ]
