"""Ways to fill a tenant column: the engine, and what it is measured against."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from control import conductor
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.queue import namespace_of
from control.stage import Ground
from control.stages import backfill
from control.worker_pool import workers
from sql.postgres import catalog
from sql.postgres.connection import connect
from tests.benchmarks.tables import Measured, size, wal_position
from tests.waiting import until
from worker import ledger
from worker.broker import doorbell

_EXPRESSION = "payload->>'org_id'"


@contextmanager
def _measured(url: str, into: list[Measured]) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as look:
        before, wal, begun = size(look), wal_position(look), time.perf_counter()
        yield
        into.append(Measured(time.perf_counter() - begun, wal_position(look) - wal, before, size(look)))


def one_update(url: str) -> Measured:
    """One UPDATE of the table."""
    into: list[Measured] = []
    with psycopg.connect(url, autocommit=True) as connection, _measured(url, into):
        connection.execute("UPDATE big SET tenant_id = payload->>'org_id' WHERE tenant_id = ''")
    return into[0]


def engine(url: str, *, processes: int = 2) -> Measured:
    """The engine from the first batch planned to the proof of completion, workers up and no throttle."""
    plan = Plan.model_validate(
        {
            "name": "bench",
            "database": {"url": url},
            "tables": [{"name": "big", "tenant": {"expression": _EXPRESSION}}],
        }
    )
    into: list[Measured] = []
    with start_valkey() as valkey, connect(url, "controller") as connection:
        original = catalog.read(connection, ["big"])
        ledger.create(connection)
        migration = ledger.begin(
            connection,
            name=plan.name,
            tables=["big"],
            original=original.model_dump(mode="json"),
            settings=conductor.settings_of(plan, throttle=False),
        )
        bell = doorbell(valkey.url, namespace_of(plan))
        ground = Ground(
            plan,
            original,
            connection,
            ledger.Memory(connection, migration.id),
            migration=migration.id,
            doorbell=bell,
        )
        with (
            Path(os.devnull).open("wb") as nowhere,
            workers(
                processes,
                database_url=url,
                redis_url=valkey.url,
                namespace=namespace_of(plan),
                log_to=nowhere,
            ),
        ):
            until(lambda: _up(connection) == processes, 30, "the workers")
            with _measured(url, into):
                backfill.STAGE.work(ground)
        bell.client.close()
    return into[0]


def _up(connection: psycopg.Connection) -> int:
    row = connection.execute(
        "SELECT count(DISTINCT application_name) FROM pg_stat_activity "
        "WHERE application_name LIKE 'tenantry worker %' AND datname = current_database()"
    ).fetchone()
    assert row is not None
    return int(row[0])
