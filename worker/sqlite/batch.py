"""One batch on a SQLite file: the UPDATE and the ledger's row in one short transaction; split; quarantine.

What becomes of a failure is decided by its SQLSTATE, as for PostgreSQL (`worker.failure`). After an error
without a code of its own SQLite is asked to compile the statement, which looks up every name in it and in its
triggers, and reads no row: where that fails too the batch waits, and where it does so again the job stops; no
row is set aside. Only one process works at a file, so that a batch which is pending in the ledger is this
one's to do.
"""

import sqlite3
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import structlog

from sql.errors import FileBusyError
from sql.job import JobSpec
from sql.ledger import JOBS, send
from sql.sqlite import guard
from sql.sqlite.batch import JobSQL
from sql.sqlite.connection import File
from sql.sqlite.failure import UNNAMED, refused, sqlstate
from sql.sqlite.ledger import JOBS as FILE_JOBS
from worker import jobs
from worker.failure import Failure, sorted_by
from worker.jobs import Batch
from worker.sqlite.paging import key_in

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """A batch that is done: rows updated, seconds with the write lock, and seconds of waiting for it."""

    rows: int
    held: float
    waited: float


@dataclass(frozen=True, slots=True)
class Failed:
    """A batch that failed; its attempt is in the ledger, unless the file couldn't be written at all."""

    failure: Failure
    sqlstate: str
    error: str
    waited: float


def begin(file: File, batch: Batch) -> None:
    """Record that a batch is begun: one that kills its process each time gives itself away.

    Raises:
        FileBusyError: another writer had the file for longer than the busy timeout.
    """
    send(file, JOBS.begin, batch=batch.id)


def run(file: File, batch: Batch, spec: JobSpec, *, first: bool) -> Done | Failed:
    """Do one batch, and begin the one after it in the ledger: that is one commit, not two.

    `first`: no row of the range can have others that have a tenant before it; else they follow.

    Raises:
        ServerError: the file is no database any more, or is damaged.
    """
    asked = begun = time.perf_counter()
    try:
        with file.transaction():
            begun = time.perf_counter()
            with guard.followed_by_nobody(file) if first else nullcontext():
                rows = file.execute(JobSQL(spec).fill(batch.range)).rowcount
            took = time.perf_counter() - begun
            send(file, FILE_JOBS.done, batch=batch.id, rows=rows, duration_ms=took * 1000)
            following = jobs.due(file, batch.job)
            if following is not None:
                begin(file, following)
    except (FileBusyError, sqlite3.Error) as error:
        code = sqlstate(error)
        waited = begun - asked if begun > asked else time.perf_counter() - asked
        return _failed(file, batch, spec, error, Failed(sorted_by(code), code, _message(error), waited))
    return Done(rows, file.held, begun - asked)


def _message(error: Exception) -> str:
    return error.reason if isinstance(error, FileBusyError) else str(error)


def _failed(file: File, batch: Batch, spec: JobSpec, error: Exception, failed: Failed) -> Failed:
    log.warning(
        "batch failed",
        batch=batch.id,
        failure=failed.failure.value,
        sqlstate=failed.sqlstate,
        error=failed.error,
    )
    if failed.sqlstate.startswith("XX") and isinstance(error, sqlite3.Error):
        raise refused("a batch", error) from error
    if failed.failure is Failure.DATA and _refused(file, batch, spec):
        failed = replace(failed, failure=Failure.REFUSED)
        with file.transaction():
            stopped = jobs.stop_refused(file, batch, failed.error)
            _record(file, batch, failed.sqlstate, failed.error, counts=False)
        if stopped:
            log.warning("job stopped", table=spec.table, reason=failed.error)
    elif failed.failure is Failure.DATA:
        _divide(file, batch, spec, failed.sqlstate, failed.error)
    else:
        # With no room on the disk, or a writer that doesn't end, there is no writing that down either.
        with suppress(FileBusyError, sqlite3.Error):
            _record(file, batch, failed.sqlstate, failed.error, counts=False)
    return failed


def _refused(file: File, batch: Batch, spec: JobSpec) -> bool:
    """Whether a batch's statement fails whatever its rows are: something that it names is gone."""
    try:
        file.execute(JobSQL(spec).explained(batch.range))
    except sqlite3.Error as error:
        return sqlstate(error) == UNNAMED
    return False


def _record(file: File, batch: Batch, code: str | None, error: str, *, counts: bool) -> None:
    send(file, JOBS.failed, batch=batch.id, sqlstate=code, error=error, counts=counts)


def give_up(file: File, batch: Batch, spec: JobSpec) -> None:
    """Deal with a batch that was begun again and again with no outcome: it kills its process.

    It is split like one whose data is wrong, and counts as failed: where every batch goes this way, the job
    stops after fifty instead of splitting to the last row.

    Raises:
        FileBusyError: another writer had the file for longer than the busy timeout.
    """
    _divide(file, batch, spec, None, "no outcome: its process ended each time")


def _divide(file: File, batch: Batch, spec: JobSpec, code: str | None, error: str) -> None:
    """Put two halves in a batch's place; a single row is set aside."""
    job_sql, left, middle = JobSQL(spec), 0, None
    # This may fail as the batch did, as when a column of its key has another name now: then it waits.
    with suppress(sqlite3.Error):
        left = int(file.value(job_sql.left(batch.range)))
        if left:
            (row,) = file.rows(job_sql.middle(batch.range), {"before": (left - 1) // 2})
            middle = key_in(row)
    if middle is None and code is None:
        return  # nothing of it is left to do: the next try says so
    with file.transaction():
        _record(file, batch, code, error, counts=True)
        if middle is None:
            return
        if left > 1:
            send(file, JOBS.split, batch=batch.id, middle=middle)
            log.info("batch split", batch=batch.id, rows=left)
        else:
            send(file, JOBS.quarantine, batch=batch.id, key=middle, sqlstate=code or "", message=error)
            log.warning("row quarantined", batch=batch.id, key=middle)
