"""A backfill with the plan's own governor, and what an application beside it feels of it.

Held against the application by itself a moment before, and shown beside one UPDATE of the same table.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.stages import backfill
from sql.postgres.connection import connect
from tests.benchmarks.application import RATE, Felt, applied
from tests.benchmarks.backfills import crew, ground_of, plan_of
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables
from tests.benchmarks.ways import one_update
from tests.waiting import until
from worker import jobs

NAME, LIMIT = "governor", "governor-rate"
#: The rows of a backfill beside an application, and its workers.
ROWS, WORKERS = 2_000_000, 2
#: Seconds for which the application is by itself: its p99 differed three times between windows of 15 s.
_IDLE = 60.0
#: The rate that is to hold, with how many workers, for how many seconds, so many seconds after the start.
_RATE, _CREWS, _FOR, _AFTER = 20_000, (1, 2, 8), 30.0, 1.0
_MILLISECONDS = 1000.0


@dataclass
class Backfilling:
    """A backfill under way in a thread, and a connection to look at it."""

    migration: int
    look: psycopg.Connection
    thread: threading.Thread
    failed: list[BaseException]

    def number(self, query: str) -> float:
        """The one number of a query; 0 where it is NULL."""
        row = self.look.execute(query.encode()).fetchone()
        return float(row[0]) if row is not None and row[0] is not None else 0.0

    def end(self, seconds: float) -> None:
        """Wait for its end by itself.

        Raises:
            AssertionError: it was not there within so many seconds.
        """
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"the backfill did not end in {seconds:g} s"
        if self.failed:
            raise self.failed[0]


@contextmanager
def backfilling(plan: Plan, processes: int) -> Iterator[Backfilling]:
    """Run the backfill under the plan's governor, workers up; what is left of it at the end is stopped."""
    url = plan.database.url.get_secret_value()
    failed: list[BaseException] = []
    with ExitStack() as stack:
        queue = stack.enter_context(start_valkey())
        connection = stack.enter_context(connect(url, "controller"))
        look = stack.enter_context(psycopg.connect(url, autocommit=True, application_name="tenantry bench"))
        stack.enter_context(crew(plan, queue.url, processes))
        ground = stack.enter_context(ground_of(plan, connection, queue.url, throttle=True))

        def work() -> None:
            try:
                backfill.STAGE.work(ground)
            except BaseException as error:  # noqa: BLE001  # handed to `end`, which raises it
                failed.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield Backfilling(ground.migration, look, thread, failed)
        finally:
            for job in jobs.of_migration(look, ground.migration):
                jobs.set_state(look, job.id, "stopped", "measured enough")
            thread.join()


def measure(tables: Tables) -> list[Figure]:
    """The application by itself, beside the backfill, and beside one UPDATE: one after the other."""
    url = tables.big("ordered", ROWS)
    with applied(url, ROWS) as application:
        begun = time.time()
        time.sleep(_IDLE)
        alone = time.time()
        with backfilling(plan_of(url), WORKERS) as work:
            started = time.time()
            work.end(600)
            done = time.time()
        felt = application.stop()
    idle, beside = felt.between(begun, alone), felt.between(started, done)
    compared, seconds = _one_update(tables)
    says = f"backfill of {ROWS:,} rows, {WORKERS} workers, the application at {RATE}/s"
    values = {
        Bar("p99 beside it / idle", must=2.0, at_most=True): beside.percentile(0.99) / idle.percentile(0.99),
        Bar("longest stall, ms", must=150.0, at_most=True): beside.longest * _MILLISECONDS,
        Bar("errors", must=0.0, at_most=True): len(felt.errors),
        Bar("rows/s"): ROWS / (done - started),
        **shown("idle", idle),
        **shown("beside the backfill", beside),
        **shown("beside one UPDATE", compared),
        Bar("one UPDATE, seconds"): seconds,
    }
    return [Figure(NAME, says, bar, (value,)) for bar, value in values.items()]


def _one_update(tables: Tables) -> tuple[Felt, float]:
    url = tables.big("ordered", ROWS)
    with applied(url, ROWS) as application:
        begun = time.time()
        run = one_update(url, ROWS)
        ended = begun + run.seconds
        felt = application.stop()
    return felt.between(begun, ended), run.seconds


def shown(when: str, felt: Felt) -> dict[Bar, float]:
    """What was felt, to be read: median, p99 and longest stall in milliseconds."""
    return {
        Bar(f"p50 {when}, ms"): felt.percentile(0.5) * _MILLISECONDS,
        Bar(f"p99 {when}, ms"): felt.percentile(0.99) * _MILLISECONDS,
        Bar(f"longest stall {when}, ms"): felt.longest * _MILLISECONDS,
    }


def rates(tables: Tables) -> list[Figure]:
    """Rows a second, from the batches that the ledger has as done, with each number of workers."""
    return [figure for workers in _CREWS for figure in _rate(tables, workers)]


def _rate(tables: Tables, workers: int) -> Iterator[Figure]:
    url = tables.big("ordered", ROWS)
    with backfilling(plan_of(url, rows_per_second=_RATE), workers) as work:
        first = until(lambda: work.number(_FIRST), "the first batch")
        begun = first + _AFTER
        until(lambda: time.time() > begun + _FOR, "the time of the measurement", within=_FOR + 60)
        rows = work.number(_ROWS.format(begun=begun, ended=begun + _FOR))
    says = f"a limit of {_RATE:,} rows/s, {workers} worker{'s' if workers > 1 else ''}"
    for bar in (
        Bar("rows/s, at least", must=0.9 * _RATE),
        Bar("rows/s, at most", must=1.1 * _RATE, at_most=True),
    ):
        yield Figure(LIMIT, says, bar, (rows / _FOR,))


_FIRST = "SELECT extract(epoch FROM min(finished_at)) FROM tenantry.batches WHERE state = 'done'"
_ROWS = (
    "SELECT sum(rows) FROM tenantry.batches WHERE state = 'done' "
    "AND finished_at >= to_timestamp({begun!r}) AND finished_at < to_timestamp({ended!r})"
)
