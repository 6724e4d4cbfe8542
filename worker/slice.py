"""One message's worth of work: its batches one after the other, the governor asked before each."""

import threading
import time
from dataclasses import dataclass, field

import psycopg
import structlog
from psycopg.errors import UndefinedTable
from psycopg_pool import PoolTimeout

from sql.postgres.batch import commit_as
from sql.postgres.connection import Connection, Pool
from worker import batch as batches
from worker import ledger, metrics
from worker.batch import Filling
from worker.governor.pace import ASK_AGAIN, Governor, Hold
from worker.ledger import Batch, Current, Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(slots=True)
class Station:
    """Where a worker process stands: its connections, its governor, and whether it was told to stop."""

    pool: Pool
    governor: Governor
    stopping: threading.Event
    idle: threading.Event = field(default_factory=threading.Event)
    """Set while no batch is under way."""
    _fillings: dict[int, Filling] = field(default_factory=dict)
    _held: str | None = None
    _last_batch: float = 0.0

    def __post_init__(self) -> None:
        self.idle.set()

    def work(self, first: int, last: int) -> None:
        """Go through the batches from `first` to `last`, unless told to stop, or the database is gone.

        Nothing is raised for the queue to try again: what is left is in the ledger, and is rung again.
        """
        metrics.MESSAGES.inc()
        try:
            with self.pool.connection(timeout=5) as connection:
                for batch in ledger.slice_of(connection, first, last):
                    current = self._let_go(connection)
                    if current is None:
                        return
                    with structlog.contextvars.bound_contextvars(migration=current.name, batch=batch.id):
                        self._do(connection, batch, current.settings)
        except UndefinedTable:
            log.warning("a message for a ledger that is not there", first=first, last=last)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning(
                "the database is out of reach, this slice will be rung again", error=str(error).strip()
            )

    def _do(self, connection: Connection, batch: Batch, settings: Settings) -> None:
        filling = self._filling(connection, batch.job)
        table = filling.table
        self.idle.clear()
        try:
            with structlog.contextvars.bound_contextvars(table=table):
                outcome = batches.run(connection, batch, filling)
        finally:
            self.idle.set()
        match outcome:
            case batches.Done(rows=rows, seconds=seconds, rest=rest):
                self._last_batch = seconds
                metrics.ROWS.labels(table).inc(rows)
                metrics.DURATION.labels(table).observe(seconds)
                metrics.BATCHES.labels(table, "rest" if rest else "done").inc()
                self.governor.paid(settings, rows)
            case batches.NotMine():
                metrics.BATCHES.labels(table, "dropped").inc()
            case batches.Failed(failure=failure, sqlstate=sqlstate):
                metrics.BATCHES.labels(table, failure.value).inc()
                metrics.FAILURES.labels(table, sqlstate[:2]).inc()

    def _filling(self, connection: Connection, job_id: int) -> Filling:
        if job_id not in self._fillings:
            job = ledger.job(connection, job_id)
            self._fillings[job_id] = Filling.of(job.table, job.spec)
        return self._fillings[job_id]

    def _let_go(self, connection: Connection) -> Current | None:
        """Wait until a batch may go; None when there is nothing to work for, or when told to stop.

        What the operator sets is read before every batch, so that it reaches a worker at the next one.
        """
        while not self.stopping.is_set():
            current = ledger.current(connection)
            if current is None or current.state != "running":
                return None
            commit_as(connection, current.settings.synchronous_commit)
            answer = self.governor.ask(current.settings, self._last_batch)
            if not isinstance(answer, Hold):
                self._say(connection, current, None)
                return None if self._rest(answer.wait, answer.reason) else current
            self._say(connection, current, answer.reason)
            self._rest(ASK_AGAIN, answer.reason)
        return None

    def _rest(self, seconds: float, reason: str) -> bool:
        """Rest for a while; True when told to stop meanwhile."""
        if seconds <= 0:
            return self.stopping.is_set()
        begun = time.monotonic()
        stopped = self.stopping.wait(seconds)
        metrics.THROTTLED.labels(reason.partition(":")[0]).inc(time.monotonic() - begun)
        return stopped

    def _say(self, connection: Connection, current: Current, reason: str | None) -> None:
        """Show a change of mind in the ledger and the log: changes, not samples."""
        signal = reason.partition(":")[0] if reason else None
        if signal == self._held:
            return
        self._held = signal
        ledger.set_held(connection, current.id, reason)
        log.info("held" if reason else "going on", reason=reason)
