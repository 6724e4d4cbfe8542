"""One batch, done well: claim, update and mark done in one statement; split; quarantine.

What becomes of a failure is decided by its SQLSTATE (design, section 2):

- a lock that wasn't free in time: again, passing over locked rows; what is left becomes a new batch;
- the statement timeout: halves, and a single row waits, for it is no fault of the data;
- deadlock, shutdown, connection, resources: the batch waits and is rung again;
- a right that is missing, or a name that is gone, whatever the rows: the batch waits, and where it is refused
  again the job stops; no row is set aside;
- everything else is an error of the data: halves, down to the row, which is set aside with its key and the
  server's message.
"""

import time
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg import errors, sql

from sql.job import JobSpec, Key, Shape, Step
from sql.postgres import moving, schemas_copy
from sql.postgres.batch import JobSQL, range_parameters, take_time
from sql.postgres.connection import Connection
from sql.postgres.ledger import JOBS, send
from worker import jobs
from worker.failure import Failure, sorted_by
from worker.jobs import Batch
from worker.paging import SMALLEST
from worker.refused import is_of_statement, why_refused

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done:
    """A batch that is done: rows updated, seconds in the server, and whether rows were left for another.

    `unlocked` is one that a lock was in the way of, and that was done again past locked rows.
    """

    rows: int
    seconds: float
    rest: bool
    unlocked: bool


@dataclass(frozen=True, slots=True)
class NotMine:
    """A batch that somebody else has, or had, or that may not go now: a duplicate message is dropped."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A batch that failed; its attempt is in the ledger. `sqlstate` is empty where the client failed.

    `again`: it is tried again, or its halves are; not where it was one row that is set aside.
    """

    failure: Failure
    sqlstate: str
    again: bool


Outcome = Done | NotMine | Failed

#: What a smaller batch may not meet.
_HALVED = frozenset({Failure.DATA, Failure.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Filling:
    """A job's statements as they go over the wire, composed once per shape of range, job and process."""

    table: str
    spec: JobSpec
    by_index: bool = False
    """Whether what tells a row's tenant is found by an index."""
    _composed: dict[tuple[Shape, bool], bytes] = field(default_factory=dict)

    def statement(self, shape: Shape, *, unlocked: bool) -> bytes:
        """The batch's statement for a range of that shape; `unlocked` passes over locked rows."""
        known = (shape, unlocked)
        if known not in self._composed:
            self._composed[known] = self.compose(shape, unlocked=unlocked).as_bytes()
        return self._composed[known]

    def compose(self, shape: Shape, *, unlocked: bool) -> sql.Composed:
        """The same, as it is put together."""
        if self.spec.copying is not None:
            return schemas_copy.copy(self.spec, shape, unlocked=unlocked)
        step: Step = self.spec.moving.step if self.spec.moving is not None else "move"
        match step:
            case "copy":
                return moving.copy(self.spec, shape)
            case "remove":
                return moving.remove(self.spec)
            case "withdraw":
                return moving.withdraw(self.spec, shape)
            case "move":
                job_sql = JobSQL(self.spec)
                return job_sql.fill_unlocked(shape) if unlocked else job_sql.fill(shape)

    def held_first(self, shape: Shape) -> sql.Composed | None:
        """What holds a batch's rows in a statement before its own; None for one that needs no such."""
        if self.spec.moving is None or self.spec.moving.step != "remove":
            return None
        return moving.hold(self.spec, shape)


def _send(connection: Connection, batch: Batch, filling: Filling, *, unlocked: bool) -> Outcome:
    statement = filling.statement(batch.range.shape, unlocked=unlocked)
    parameters = {"batch": batch.id, **range_parameters(batch.range)}
    hold = filling.held_first(batch.range.shape)
    if hold is None:
        row = connection.execute(statement, parameters, prepare=True).fetchone()
    else:
        with connection.transaction():
            ((parameters["held"],),) = connection.execute(hold, range_parameters(batch.range))
            row = connection.execute(statement, parameters, prepare=True).fetchone()
    if row is None:
        return NotMine()
    return Done(rows=row[0], seconds=row[1] / 1000, rest=row[2] is not None, unlocked=unlocked)


def run(connection: Connection, batch: Batch, filling: Filling) -> Outcome:
    """Do one batch on an autocommit connection.

    Raises:
        psycopg.OperationalError: the connection is gone; the batch is pending again by itself.
    """
    begun = time.perf_counter()
    try:
        try:
            return _send(connection, batch, filling, unlocked=False)
        except errors.LockNotAvailable:
            # Somebody holds a row of the range: leave it to them, and take the others.
            return _send(connection, batch, filling, unlocked=True)
    except psycopg.Error as error:
        if connection.closed:
            raise
        failure = sorted_by(error.sqlstate)
        refused = _why_refused(connection, batch, filling, error)
        if refused is not None:
            failure = Failure.REFUSED
        elif is_of_statement(error):
            failure = Failure.WAIT  # it was refused, and would not be any more
        stopped = refused is not None and jobs.stop_refused(connection, batch, refused)
        log.warning(
            "batch failed",
            batch=batch.id,
            failure=failure.value,
            sqlstate=error.sqlstate,
            error=_message(error),
            seconds=round(time.perf_counter() - begun, 3),
        )
        left = _left_if_told(connection, batch, filling.spec) if failure in _HALVED else None
        if left is not None:
            # A big batch that runs out of time was only cut too big, and its halves may do: fifty of those,
            # the first of a table with a slow trigger, are no reason to stop a job.
            counts = failure is Failure.DATA or left.rows <= SMALLEST
            _record(connection, batch, error.sqlstate, _message(error), counts=counts)
            _split(connection, batch, left, error.sqlstate, _message(error), aside=failure is Failure.DATA)
        else:
            counts = failure is Failure.DATA
            _record(connection, batch, error.sqlstate, _message(error), counts=counts)
        if stopped:
            log.warning("job stopped", table=filling.table, reason=refused)
        set_aside = failure is Failure.DATA and left is not None and left.rows == 1
        return Failed(failure, error.sqlstate or "", again=not set_aside)


def _why_refused(connection: Connection, batch: Batch, filling: Filling, error: psycopg.Error) -> str | None:
    shape = batch.range.shape
    hold = filling.held_first(shape)
    statements = [*([hold] if hold is not None else []), filling.compose(shape, unlocked=False)]
    given = {"batch": batch.id, "held": "{}", **range_parameters(batch.range)}
    return why_refused(connection, filling.spec, statements, given, error)


def _message(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)


def _record(connection: Connection, batch: Batch, sqlstate: str | None, error: str, *, counts: bool) -> None:
    """Write an attempt, after the rollback; `counts` towards the failures that stop a job."""
    send(connection, JOBS.failed, batch=batch.id, sqlstate=sqlstate, error=error, counts=counts)


def give_up(connection: Connection, batch: Batch, spec: JobSpec) -> None:
    """Deal with a batch that was begun again and again with no outcome: it kills its worker or its backend.

    It is split like one whose data is wrong, and counts as failed: where every batch goes this way, the job
    stops after fifty instead of splitting to the last row.
    """
    error = "no outcome: its worker or its backend died each time"
    _record(connection, batch, None, error, counts=True)
    _split(connection, batch, _left(connection, batch, spec), None, error, aside=True)


@dataclass(frozen=True, slots=True)
class _Left:
    """What of a batch is still to be done: how many rows; the bound and the key of the middle one."""

    rows: int
    middle: Key | None
    key: Key


def _left(connection: Connection, batch: Batch, spec: JobSpec) -> _Left:
    row = connection.execute(JobSQL(spec).middle(batch.range.shape), range_parameters(batch.range)).fetchone()
    return _Left(*row) if row is not None else _Left(0, None, [])


def _left_if_told(connection: Connection, batch: Batch, spec: JobSpec) -> _Left | None:
    """The same; None where this fails as the batch did, as when its key's column has another name now."""
    try:
        with connection.transaction():
            take_time(connection)
            return _left(connection, batch, spec)
    except psycopg.Error as error:
        if connection.closed:
            raise
        log.warning("what is left of a batch can't be told", batch=batch.id, error=_message(error))
        return None


def _split(
    connection: Connection, batch: Batch, left: _Left, sqlstate: str | None, error: str, *, aside: bool
) -> None:
    """Put two halves in a batch's place; a single row is set aside, or waits unless `aside`."""
    if left.middle is None:
        return  # nothing of it is left to do: the next try says so
    if left.rows > 1:
        send(connection, JOBS.split, batch=batch.id, middle=left.middle)
        log.info("batch split", batch=batch.id, rows=left.rows)
    elif aside:
        send(
            connection,
            JOBS.quarantine,
            batch=batch.id,
            key=left.key,
            sqlstate=sqlstate or "",
            message=error,
        )
        log.warning("row quarantined", batch=batch.id, key=left.key)
