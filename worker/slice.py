"""One message's worth of work: its batches one after the other, the governor asked before each."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

import psycopg
import structlog
from psycopg.errors import ConnectionFailure, InsufficientPrivilege, UndefinedTable
from psycopg_pool import PoolTimeout
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from sql.postgres.batch import commit_as, hold_triggers, is_told_by_index, let_triggers_run, look_up
from sql.postgres.connection import Connection, Pool
from sql.postgres.ledger import JOBS, send
from worker import audit, jobs, ledger, metrics, version
from worker import batch as batches
from worker.batch import Filling
from worker.failure import Failure
from worker.governor.limits import LABELS, UNREADABLE, SignalName
from worker.governor.pace import ASK_AGAIN, Go, Governor, Hold, Rest
from worker.jobs import Batch
from worker.ledger import Current

log: structlog.stdlib.BoundLogger = structlog.get_logger()


#: Seconds for which a worker takes the settings of its job to be what it last read.
AS_TOLD_FOR = 0.1

#: Of so many jobs a worker keeps the statements: a service outlives migrations, and a table may have
#: thousands of partitions, each with a job of its own.
_JOBS_KEPT = 50

#: The class of what a lock that isn't free in time is told by, 55P03.
_LOCKED = "55"

#: A worker that has said nothing yet. Its first answer is written whatever it is: one that was killed while
#: held has left its reason in the ledger.
_NOT_SAID = ""


@dataclass(slots=True)
class _Session:
    """A connection for as long as one message lasts; told only what differs from the batch before."""

    connection: Connection
    _commit: str | None = None
    _holding: bool = False
    _one_by_one: bool | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._holding:
            self._let_triggers_run()

    def suit(self, synchronous_commit: str, *, hold: bool, one_by_one: bool) -> None:
        """Let the session commit, look up, and let the application's triggers fire, as the batch wants it.

        Raises:
            psycopg.errors.InsufficientPrivilege: the role may not hold triggers off.
        """
        if synchronous_commit != self._commit:
            commit_as(self.connection, synchronous_commit)
            self._commit = synchronous_commit
        if one_by_one != self._one_by_one:
            look_up(self.connection, one_by_one=one_by_one)
            self._one_by_one = one_by_one
        if hold and not self._holding:
            hold_triggers(self.connection)
            self._holding = True
        elif self._holding and not hold:
            self._let_triggers_run()

    def _let_triggers_run(self) -> None:
        """Let them fire again; where the right is gone meanwhile, no other batch has this connection."""
        self._holding = False
        try:
            let_triggers_run(self.connection)
        except psycopg.Error:
            self.connection.close()


@dataclass(slots=True)
class Station:
    """Where a worker process stands: its connections, its governor, and whether it was told to stop."""

    pool: Pool
    governor: Governor
    stopping: threading.Event
    idle: threading.Event = field(default_factory=threading.Event)
    """Set while no batch is under way."""
    _fillings: dict[tuple[int, datetime], Filling] = field(default_factory=dict)
    """Those of the jobs that it worked at last, the very last at the end."""
    _held: str | None = _NOT_SAID
    _held_of: Current | None = None
    _unreadable: set[SignalName] = field(default_factory=set)
    """Signals of which it is on record that they can't be read, as of `_unreadable_as_of`."""
    _unreadable_as_of: tuple[int, datetime] | None = None
    _current: Current | None = None
    _asked_of: int | None = None
    _ask_at: float = 0.0

    def __post_init__(self) -> None:
        self.idle.set()

    def work(self, first: int, last: int) -> None:
        """Go through the batches from `first` to `last`, unless told to stop, or the database is gone.

        Nothing is raised for the queue to try again: what is left is in the ledger, and is rung again.
        """
        metrics.MESSAGES.inc()
        self._ask_at = 0.0  # between two messages a ledger may be dropped and made anew
        try:
            with self.pool.connection(timeout=5) as connection, _Session(connection) as session:
                try:
                    if not self._understands(connection):
                        return
                    slice_, read_at = jobs.slice_of(connection, first, last), time.monotonic()
                    for batch in slice_:
                        current = self._let_go(connection, batch.job)
                        if current is None:
                            return
                        with structlog.contextvars.bound_contextvars(migration=current.name, batch=batch.id):
                            self._do(session, batch, current, read_at)
                finally:
                    self._hold_no_more(connection)
        except UndefinedTable:
            log.warning("a message for a table or a ledger that is gone", first=first, last=last)
        except InsufficientPrivilege as error:
            log.warning(
                "this role may not use the ledger; [roles] of the plan names whom a run lets in",
                error=str(error.diag.message_primary),
            )
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning(
                "the database is out of reach, this slice will be rung again", error=str(error).strip()
            )

    def _understands(self, connection: Connection) -> bool:
        """Wait until the ledger is of our version; False when told to stop before.

        A worker may lack the right to upgrade it, so it leaves that to the controller. One that drops message
        after message would take them from workers that understand the ledger.
        """
        said = False
        while (found := version.of(connection)) not in {None, version.VERSION}:
            if not said:
                log.warning("the ledger is of another version; waiting", ledger=found, worker=version.VERSION)
                said = True
            if self.stopping.wait(ASK_AGAIN):
                return False
        return True

    def _do(self, session: "_Session", batch: Batch, current: Current, read_at: float) -> None:
        connection = session.connection
        filling = self._filling(connection, batch.job, current.job_started_at)
        table = filling.table
        try:
            session.suit(
                current.settings.synchronous_commit,
                hold=filling.spec.hold_triggers,
                one_by_one=filling.by_index,
            )
        except InsufficientPrivilege as error:
            reason = f"this role may not hold triggers off: {error.diag.message_primary}"
            jobs.set_state(connection, batch.job, "stopped", reason)
            log.warning("job stopped", table=table, reason=reason)
            return
        self.idle.clear()
        begun = time.monotonic()
        metrics.WAIT.labels(table).observe(batch.waited + begun - read_at)
        try:
            if batch.rings > 1:
                send(connection, JOBS.begin, batch=batch.id)
            with structlog.contextvars.bound_contextvars(table=table):
                outcome = batches.run(connection, batch, filling)
        except psycopg.OperationalError as error:
            self._tell_loss(batch, error)
            raise
        finally:
            self.idle.set()
        match outcome:
            case batches.Done(rows=rows, seconds=seconds, rest=rest, unlocked=unlocked):
                self.governor.ran(seconds)
                self.governor.paid(current.settings, rows)
                metrics.ROWS.labels(table).inc(rows)
                metrics.DURATION.labels(table).observe(seconds)
                metrics.BATCHES.labels(table, "rest" if rest else "done").inc()
                if unlocked:
                    metrics.RETRIES.labels(table, _LOCKED).inc()
            case batches.NotMine():
                self.governor.paid(current.settings, 0)
                metrics.BATCHES.labels(table, "dropped").inc()
            case batches.Failed(failure=failure, sqlstate=sqlstate, again=again):
                if failure is Failure.TIMEOUT:
                    self.governor.ran(time.monotonic() - begun)
                self._ask_at = 0.0  # its job may be stopped
                self.governor.paid(current.settings, 0)
                metrics.BATCHES.labels(table, failure.value).inc()
                metrics.FAILURES.labels(table, sqlstate[:2]).inc()
                if again:
                    metrics.RETRIES.labels(table, sqlstate[:2]).inc()

    def _tell_loss(self, batch: Batch, error: psycopg.OperationalError) -> None:
        """Write down why a batch's connection was lost, on another one; not while the server is away.

        What cuts one connection cuts those beside it a moment later (seen: one that the pool had just found
        to be sound), so it is tried on three.
        """
        reason = (error.diag.message_primary or str(error)).strip().splitlines()[0]
        again = Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError), stop=stop_after_attempt(3), reraise=True
        )

        def tell() -> None:
            with self.pool.connection(timeout=1) as connection:
                send(
                    connection,
                    JOBS.interrupted,
                    batch=batch.id,
                    sqlstate=error.sqlstate or ConnectionFailure.sqlstate,
                    error=reason,
                )

        with suppress(psycopg.Error, PoolTimeout):
            again(tell)

    def _filling(self, connection: Connection, job_id: int, started_at: datetime) -> Filling:
        known = (job_id, started_at)
        filling = self._fillings.pop(known, None)
        if filling is None:
            job = jobs.read(connection, job_id)
            by_index = job.spec.moving is None and is_told_by_index(connection, job.spec)
            filling = Filling(job.table, job.spec, by_index)
        self._fillings[known] = filling
        if len(self._fillings) > _JOBS_KEPT:
            del self._fillings[next(iter(self._fillings))]
        return filling

    def _let_go(self, connection: Connection, job_id: int) -> Current | None:
        """Wait until a batch of a job may go; None when none may (paused, stopped), or when told to stop.

        What the operator sets reaches a worker at its next batch, or a tenth of a second later: quick batches
        don't ask each time. One that may not go (paused, stopped) finds so by itself when it claims its row.
        """
        while not self.stopping.is_set():
            if time.monotonic() >= self._ask_at or job_id != self._asked_of:
                self._current, self._asked_of = ledger.current(connection, job_id), job_id
                self._ask_at = time.monotonic() + AS_TOLD_FOR
            current = self._current
            if current is None:
                return None
            answer = self.governor.ask(current.settings)
            self._show_sample(connection, current)
            self._say(connection, current, answer.reason if isinstance(answer, Hold) else None)
            match answer:
                case Go():
                    return None if self.stopping.is_set() else current
                # Never for long without a look at the ledger: the operator may pause, or tune, meanwhile.
                case Rest(seconds=seconds, reason=reason):
                    self._rest(min(seconds, ASK_AGAIN), reason)
                case Hold(reason=reason):
                    self._rest(ASK_AGAIN, reason)
        return None

    def _rest(self, seconds: float, reason: str) -> None:
        """Rest for a while, or until told to stop."""
        begun = time.monotonic()
        self.stopping.wait(seconds)
        metrics.THROTTLED.labels(reason.partition(":")[0]).inc(time.monotonic() - begun)

    def _say(self, connection: Connection, current: Current, reason: str | None) -> None:
        """Show a change of mind in the ledger and the log: changes, not samples."""
        signal = reason.partition(":")[0] if reason else None
        if signal == self._held:
            return
        news = reason is not None or self._held != _NOT_SAID
        ledger.set_held(connection, current.id, self.governor.name, reason)
        self._held, self._held_of = signal, current
        if news:
            log.info("held" if reason else "going on", migration=current.name, reason=reason)

    def _hold_no_more(self, connection: Connection) -> None:
        """Take the reason back: a worker without a message holds nothing, and may get no other for long."""
        if self._held and self._held_of is not None:
            with suppress(psycopg.Error):
                self._say(connection, self._held_of, None)

    def _show_sample(self, connection: Connection, current: Current) -> None:
        """Write down what this worker sampled for all; and once, what can't be read."""
        if (taken := self.governor.taken) is None:
            return
        self.governor.taken = None
        posted, sample = taken.posted, taken.posted.sample
        if taken.batch is not None:
            sample = sample.model_copy(update={"values": sample.values | {"batch": taken.batch}})
        ledger.show_governor(
            connection,
            current.id,
            zone=posted.zone.value,
            share=posted.share,
            reason=posted.reason,
            sample=sample,
        )
        limited = current.settings.limits if current.settings.throttle else {}
        as_of = (current.id, current.job_started_at)
        if as_of != self._unreadable_as_of:  # in a ledger that was made anew it is not on record
            self._unreadable_as_of, self._unreadable = as_of, set()
        for signal, why in sample.unreadable.items():
            if signal in limited and signal not in self._unreadable:
                self._unreadable.add(signal)
                then = UNREADABLE[current.settings.unreadable]
                message = f"{LABELS[signal]}: can't be read, {why}; {then}"
                if audit.record_unreadable(connection, current.id, self.governor.name, message):
                    log.warning("a signal can't be read", signal=signal, reason=why, so=then)
