"""The engine over the table, by its own code from plan to proof, on workers and a queue of its own."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from control import conductor
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.plan.sections import Paging
from control.queue import namespace_of
from control.stage import Ground
from control.stages import backfill
from control.worker_pool import workers
from sql.job import Range
from sql.postgres import catalog
from sql.postgres.connection import Connection, connect
from tests.benchmarks.measured import Cut, Run, heap_only, see
from tests.waiting import until
from worker import jobs, ledger, version
from worker.broker import doorbell

#: Where the tenant comes from, for every way that is measured.
TENANT = "payload->>'org_id'"


def plan_of(url: str, paging: Paging = "auto", **governor: int | str) -> Plan:
    """The plan of `big`: all as it comes, but for the way of paging and what `governor` says otherwise."""
    return Plan.model_validate(
        {
            "name": "bench",
            "database": {"url": url},
            "tables": [{"name": "big", "tenant": {"expression": TENANT}}],
            "backfill": {"paging": paging},
            "governor": governor,
        }
    )


@contextmanager
def ground_of(plan: Plan, connection: Connection, queue: str, *, throttle: bool = False) -> Iterator[Ground]:
    """A migration on record with its queue: what a stage stands on; unthrottled unless told otherwise."""
    names = [table.name for table in plan.tables]
    original = catalog.read(connection, names)
    version.create(connection)
    migration = ledger.begin(
        connection,
        name=plan.name,
        tables=names,
        original=original.model_dump(mode="json"),
        settings=conductor.settings_of(plan, throttle=throttle),
    )
    bell = doorbell(queue, namespace_of(plan))
    memory = ledger.Memory(connection, migration.id)
    try:
        yield Ground(plan, original, connection, memory, migration=migration.id, doorbell=bell)
    finally:
        bell.client.close()


@contextmanager
def crew(plan: Plan, queue: str, processes: int) -> Iterator[None]:
    """So many worker processes, each of which has its connection by now."""
    url = plan.database.url.get_secret_value()
    with (
        Path(os.devnull).open("wb") as nowhere,
        workers(processes, database_url=url, redis_url=queue, namespace=namespace_of(plan), log_to=nowhere),
        psycopg.connect(url, autocommit=True) as look,
    ):
        until(lambda: _up(look) == processes, "the workers")
        yield


def _up(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(DISTINCT application_name) FROM pg_stat_activity "
        "WHERE application_name LIKE 'tenantry worker %' AND datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0])


def engine(url: str, rows: int, *, processes: int = 2, paging: Paging = "auto") -> Run:
    """The backfill stage over `big` by the plan that all comparisons share."""
    return of_plan(plan_of(url, paging), rows, processes=processes)


def of_plan(plan: Plan, rows: int, *, processes: int = 2) -> Run:
    """The backfill stage of a plan, `big` its last table: workers up, no throttle.

    It is timed from its first look at the tables, with nothing planned, to its proof that no row is left. The
    whole takes in the start of the queue server and the workers, and their end.
    """
    url = plan.database.url.get_secret_value()
    begun = time.perf_counter()
    with (
        connect(url, "controller") as connection,
        start_valkey() as valkey,
        crew(plan, valkey.url, processes),
        ground_of(plan, connection, valkey.url) as ground,
    ):
        seen = see(url, lambda: backfill.STAGE.work(ground))
    whole = time.perf_counter() - begun
    return Run(seen.seconds, whole, seen.wal, seen.before, seen.after, heap_only(url, rows), cut=_cut_by(url))


def _cut_by(url: str) -> Cut:
    with psycopg.connect(url, autocommit=True) as look, look.cursor(row_factory=dict_row) as cursor:
        ((job),) = cursor.execute("SELECT id FROM tenantry.jobs WHERE table_name = 'big'").fetchall()
        planned = cursor.execute(
            "SELECT by, lower, upper, stripe, coalesce(rows, 0) AS rows FROM tenantry.batches "
            "WHERE origin = 'plan' AND split_from IS NULL AND job_id = %s ORDER BY id",
            [job["id"]],
        ).fetchall()
        ranges = tuple(
            Range(**{name: row[name] for name in ("by", "lower", "upper", "stripe")}) for row in planned
        )
        spec = jobs.read(look, job["id"]).spec
        return Cut(spec, ranges, tuple(row["rows"] for row in planned))
