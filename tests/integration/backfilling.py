"""A backfill of the sample with real workers, to look at and to disturb."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import redis
from psycopg import sql

from control import conductor, locks
from control.plan.model import Plan
from control.queue import namespace_of
from control.stage import Ground
from control.stages import backfill, columns
from control.worker_pool import WorkerPool, workers
from sql.postgres import catalog
from sql.postgres.connection import Connection, connect
from tests.integration.walking import SAMPLE
from tests.integration.worker_threads import worker_threads
from tests.waiting import until
from worker import ledger, version
from worker.broker import doorbell

#: Counts every update that fires triggers, row by row; a wait makes batches long enough to be hit.
_COUNTING = """
CREATE TABLE public.updates_seen (of_table text NOT NULL, id text NOT NULL);
CREATE FUNCTION public.see_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep({seconds});
    INSERT INTO public.updates_seen VALUES (TG_TABLE_NAME, NEW.id);
    RETURN NEW;
END $$;
CREATE TRIGGER see_update BEFORE UPDATE ON public.graph_entities
    FOR EACH ROW EXECUTE FUNCTION public.see_update();
CREATE TRIGGER see_update BEFORE UPDATE ON public.graph_relations
    FOR EACH ROW EXECUTE FUNCTION public.see_update();
"""

_IN_A_BATCH = (
    "SELECT application_name, pid, query_start FROM pg_stat_activity "
    "WHERE application_name LIKE 'tenantry worker %' AND state = 'active' AND query LIKE '%batch.fill%' "
    "AND datname = current_database()"
)
_STILL_IN_IT = "SELECT FROM pg_stat_activity WHERE pid = %s AND state = 'active' AND query_start = %s"


def count_updates(connection: psycopg.Connection, *, seconds_per_row: float = 0.0) -> None:
    """Count every update of the sample's rows from now on, and make each take a while."""
    connection.execute(_COUNTING.format(seconds=seconds_per_row).encode())


def updates_per_row(connection: psycopg.Connection) -> list[tuple[str, int, int, int]]:
    """Table, rows seen, fewest and most updates of one row."""
    return connection.execute(
        "SELECT of_table, count(*), min(n), max(n) FROM "
        "(SELECT of_table, id, count(*) AS n FROM public.updates_seen GROUP BY 1, 2) AS seen "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()


def plan_of(url: str, **changes: Any) -> Plan:
    """The sample's plan for a database, batches as small as they get, paged as a large table is."""
    return Plan.model_validate(
        SAMPLE | {"database": {"url": url}, "backfill": {"first_batch": 100, "paging": "pages"}, **changes}
    )


def prepared(plan: Plan, connection: Connection, queue: str) -> Ground:
    """A migration on record with its columns and guard, ready for the backfill."""
    original = catalog.read(connection, [table.name for table in plan.tables])
    version.create(connection)
    migration = ledger.begin(
        connection,
        name=plan.name,
        tables=[table.name for table in plan.tables],
        original=original.model_dump(mode="json"),
        settings=conductor.watching(connection, conductor.settings_of(plan, throttle=True)),
    )
    for step in columns.STAGE.steps(plan, original):
        locks.take(connection, step, notify=lambda _line: None)
    return Ground(
        plan,
        original,
        connection,
        ledger.Memory(connection, migration.id),
        migration=migration.id,
        doorbell=doorbell(queue, namespace_of(plan)),
    )


@dataclass
class UnderWay:
    """A backfill under way in a thread, and a connection to look at it."""

    look: psycopg.Connection
    queue: redis.Redis
    thread: threading.Thread
    failed: list[BaseException]

    def share_done(self, table: str) -> float:
        """The share of a table's batches that are done; 0 before they are planned."""
        row = self.look.execute(
            "SELECT count(*) FILTER (WHERE b.state = 'done')::float8 / nullif(count(*), 0) "
            "FROM tenantry.batches AS b JOIN tenantry.jobs AS j ON j.id = b.job_id WHERE j.table_name = %s",
            [table],
        ).fetchone()
        return (row[0] if row else None) or 0.0

    def begun(self, part: str) -> bool:
        """Whether a part, as the ledger calls it, has its job."""
        return self.look.execute("SELECT FROM tenantry.jobs WHERE part = %s", [part]).rowcount == 1

    def reach(self, table: str, share: float) -> None:
        """Wait until a share of a table's batches is done."""
        until(lambda: self.share_done(table) >= share, f"{share:.0%} of the batches of {table}")

    def end(self) -> None:
        """Wait for the end by itself."""
        self.thread.join(120)
        assert not self.thread.is_alive(), "the backfill did not end"
        if self.failed:
            raise self.failed[0]


@dataclass
class Backfilling(UnderWay):
    """One whose workers are processes, as those of a run are."""

    pool: WorkerPool
    killed: set[int] = field(default_factory=set)

    def kill_a_worker_in_its_batch(self) -> None:
        """SIGKILL a worker whose backend is inside a batch, frozen there until the signal went.

        Each worker once: the session of a dead one stays active until its batch ends.
        """
        until(self._kill_inside, "a worker inside a batch")

    def _kill_inside(self) -> bool:
        for name, backend, started in self.look.execute(_IN_A_BATCH):
            worker = int(name.split()[2].partition("@")[0])
            if worker in self.killed:
                continue
            os.kill(backend, signal.SIGSTOP)
            try:
                if self.look.execute(_STILL_IN_IT, [backend, started]).fetchone() is None:
                    continue  # it was over before it froze: the next one
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it stopped on its own, as the others of a killed one do
            finally:
                os.kill(backend, signal.SIGCONT)
            self.killed.add(worker)
            return True
        return False


@contextmanager
def backfilling(
    plan: Plan, queue: str, count: int = 2, *, between: Callable[[], object] = lambda: None
) -> Iterator[Backfilling]:
    """Run the backfill of a plan in a thread, with so many workers; `between` comes after the guard."""
    url, space = plan.database.url.get_secret_value(), namespace_of(plan)
    with (
        _ready(plan, queue, between) as (ground, look, client),
        workers(count, database_url=url, redis_url=queue, namespace=space) as pool,
        _at_work(ground) as (thread, failed),
    ):
        yield Backfilling(look, client, thread, failed, pool)


@contextmanager
def filling(
    plan: Plan, queue: str, count: int = 2, *, between: Callable[[], object] = lambda: None
) -> Iterator[UnderWay]:
    """The same with workers in threads: for what becomes of the rows, not of the workers."""
    url, space = plan.database.url.get_secret_value(), namespace_of(plan)
    with (
        _ready(plan, queue, between) as (ground, look, client),
        worker_threads(count, url=url, queue=queue, namespace=space),
        _at_work(ground) as (thread, failed),
    ):
        yield UnderWay(look, client, thread, failed)


@contextmanager
def _ready(
    plan: Plan, queue: str, between: Callable[[], object]
) -> Iterator[tuple[Ground, psycopg.Connection, redis.Redis]]:
    """The ground of a backfill that may begin, a connection to look at it, and a client of its queue."""
    url = plan.database.url.get_secret_value()
    with (
        connect(url, "controller") as connection,
        psycopg.connect(url, autocommit=True) as look,
        redis.Redis.from_url(queue) as client,
    ):
        ground = prepared(plan, connection, queue)
        assert ground.doorbell is not None
        # Of rows that no ANALYZE has counted the first updates are all there is, every one of them dead: the
        # governor holds for ten seconds and more.
        for table in plan.tables:
            identifier = ground.original.table(table.name).identifier
            look.execute(sql.SQL("ANALYZE {}").format(identifier))
        try:
            between()
            yield ground, look, client
        finally:
            ground.doorbell.client.close()


@contextmanager
def _at_work(ground: Ground) -> Iterator[tuple[threading.Thread, list[BaseException]]]:
    """The stage at work in a thread, and what it raised."""
    failed: list[BaseException] = []

    def work() -> None:
        try:
            backfill.STAGE.work(ground)
        except BaseException as error:  # noqa: BLE001  # handed to the test, which raises it
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield thread, failed
    thread.join(120)
