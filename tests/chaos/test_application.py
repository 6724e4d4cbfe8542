"""An application whose own transactions are in the way of batches: it is never the victim."""

import time

import psycopg
import pytest

from tests.chaos.conftest import Build, Tell
from tests.chaos.house import House
from tests.chaos.servers import Cluster

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

#: Seconds between two locks: a transaction goes on for longer than the server's deadlock_timeout.
_BETWEEN = 0.005

#: Batches that met a locked row and left it for another.
_LEFT_ROWS = "SELECT FROM tenantry.batches WHERE origin = 'rest'"
_DEADLOCKS = "SELECT deadlocks::int FROM pg_stat_database WHERE datname = current_database()"


def _victims(there: House) -> int:
    """How many deadlocks the server broke up, and how many of them by the application's error."""
    latest = there.application.latest
    assert latest is not None
    return latest.by_sqlstate.get("40P01", 0) + int(there.ask(_DEADLOCKS)[0][0])


def test_deadlocks(build: Build, server: Cluster, tell: Tell) -> None:
    """Transactions lock many rows in the order opposite to batches', among the rows that batches are at."""
    with build() as there, psycopg.connect(server.url("graph_app"), application_name="shop") as shop:
        there.work()
        there.run()

        def lock_backwards() -> None:
            # Rows of the next pages, the last first. NO KEY: whoever inserts a relation of it is let through.
            waiting = shop.execute(
                "SELECT id FROM graph_entities WHERE tenant_id = '' ORDER BY id LIMIT 300"
            ).fetchall()
            for (row,) in reversed(waiting):
                shop.execute("SELECT FROM graph_entities WHERE id = %s FOR NO KEY UPDATE", [row])
                time.sleep(_BETWEEN)
            shop.commit()

        there.strike(20, lock_backwards, first=0.12, last=0.3)
        assert there.ask(_LEFT_ROWS)  # batches did meet those locks
        assert _victims(there) == 0
        tell(there.end())


def test_lock_holders(build: Build, server: Cluster, tell: Tell) -> None:
    """Transactions keep rows locked for longer than any batch may wait."""
    with build() as there, psycopg.connect(server.url("graph_app"), application_name="shop") as shop:
        there.work()
        there.run()

        def hold() -> None:
            for table in ("graph_entities", "graph_relations"):
                shop.execute(
                    f"SELECT FROM {table} WHERE tenant_id = '' ORDER BY random() LIMIT 300 "
                    "FOR NO KEY UPDATE SKIP LOCKED".encode()
                )
            time.sleep(there.chance.uniform(0.5, 2.0))  # the fault itself
            shop.commit()

        there.strike(15, hold)
        assert there.ask(_LEFT_ROWS)
        assert _victims(there) == 0
        tell(there.end())
