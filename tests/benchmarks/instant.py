"""The instant path: a constant tenant on a table without the column is a change of the catalog alone."""

import time

import psycopg

from control import conductor
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.queue import namespace_of
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.tables import Tables
from worker.broker import doorbell

NAME = "instant"
_BAR = Bar("seconds", must=1.0, aim=0.05, at_most=True)


def measure(tables: Tables, rows: int, rounds: int) -> Figure:
    """The stages `columns` and `backfill` by the conductor, as `tenantry run` has it; those before are done.

    Raises:
        AssertionError: a row has no tenant, or there was a batch: that would not be the instant path.
    """
    seconds = tuple(_once(tables.narrow(rows)) for _ in range(rounds))
    return Figure(NAME, f"a constant tenant, {rows:,} rows, no column yet", _BAR, seconds)


def _once(url: str) -> float:
    plan = Plan.model_validate(
        {
            "name": "bench",
            "database": {"url": url},
            "tables": [{"name": "narrow", "tenant": {"constant": "default"}}],
        }
    )
    with start_valkey() as valkey, conductor.controller(plan) as connection:
        bell = doorbell(valkey.url, namespace_of(plan))
        conductor.run(plan, connection, bell, to="backup", throttle=False, notify=lambda _line: None)
        begun = time.perf_counter()
        conductor.run(plan, connection, bell, to="backfill", throttle=False, notify=lambda _line: None)
        seconds = time.perf_counter() - begun
        bell.client.close()
    with psycopg.connect(url) as look:
        assert look.execute("SELECT count(*) FROM narrow WHERE tenant_id <> 'default'").fetchone() == (0,)
        assert look.execute("SELECT count(*) FROM tenantry.batches").fetchone() == (0,)
    return seconds
