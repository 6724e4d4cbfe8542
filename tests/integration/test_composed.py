"""The walk of a newcomer through docker-compose.yml, by the file's own commands and variables."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.composed import Composed, Running, composed
from tests.waiting import until

ENTITIES = 5_000


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Composed]:
    """The servers of the file, and its plan."""
    with composed(tmp_path) as found:
        yield found


def _counted(worker: Running) -> float:
    """The batches that a worker has done."""
    url = f"http://127.0.0.1:{worker.port}/metrics"
    with urllib.request.urlopen(url, timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("tenantry_worker_batches_total{"))


def _shown(exporter: Running) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def test_a_newcomer_loads_the_sample_scales_the_workers_and_migrates_while_the_application_works(
    stack: Composed,
) -> None:
    said = stack.folder / "application.log"
    with stack.up("worker") as first, stack.up("exporter") as exporter:
        until(first.healthy, "the worker")
        until(exporter.healthy, "the exporter")
        assert "loaded 5,000 entities" in stack.done("sample", "--entities", str(ENTITIES))
        assert "there already" in stack.done("sample")  # as the next `up` does
        stack.psql(stack.done("tenantry", "roles", "--sql"))
        with stack.up("application", said), stack.up("worker") as second:
            until(second.healthy, "the second worker")
            waiting = stack.done("tenantry", "run", status=3)
            assert "tenantry confirm application" in waiting
            until(lambda: "the new code is deployed" in said.read_text(), "the new code")
            stack.done("tenantry", "confirm", "application")
            stack.done("tenantry", "run")
            status = json.loads(stack.done("tenantry", "status", "--json"))
            assert status["state"] == "complete"
            assert status["workers_alive"] == 2
            assert _counted(first) + _counted(second) > 0
            assert 'tenantry_migration_state{migration="multi-tenancy",state="complete"} 1.0' in _shown(
                exporter
            )
    assert said.read_text().splitlines()[-1].endswith(", 0 errors")
    with psycopg.connect(stack.primary.url("graph")) as connection:
        position = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
    environment = stack.environment("tenantry")
    with psycopg.connect(
        environment["STANDBY_URL"], password=environment["PGPASSWORD"], autocommit=True
    ) as standby:
        caught_up = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        until(lambda: standby.execute(caught_up, position).fetchone() == (True,), "the standby")
        tenants = standby.execute("SELECT count(DISTINCT tenant_id) FROM graph_relations").fetchone()
    assert tenants == (50,)
