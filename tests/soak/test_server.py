"""Hundreds of small migrations in a row, under the same workers and one exporter: nothing grows."""

import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.addresses import free_port
from tests.integration.operating import TENANTRY, Operator
from tests.soak import measuring
from tests.soak.churn import PLAN, Churn
from tests.soak.conftest import Judge
from tests.soak.trend import Allowance, Sample
from tests.waiting import until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

#: How many migrations, and in how many samples.
MIGRATIONS = int(os.environ.get("MIGRATIONS", "100"))
_SAMPLES = 40
_PATIENCE = 60.0

#: By the measure's name. Memory comes from the system in steps, and never all of it goes back.
_ALLOWED = {
    "*: RSS, kB": Allowance(2_500, 0.03),
    "*: memory of its own, kB": Allowance(2_500, 0.03),
    # PostgreSQL caches plans in it until the pool replaces it, an hour after it began: shown, not judged.
    "server: memory of workers' sessions, kB": Allowance(None),
    # A worker takes its second and third session when it needs them; two were seen to have 18 or 19 threads.
    "server: sessions*": Allowance(2),
    "workers: sockets": Allowance(2),
    "workers: threads": Allowance(2),
    "workers: file descriptors": Allowance(2),
    # Counts of tables that a worker has not filled before take another page.
    "temporary folder: on disk, kB": Allowance(100),
    # Those that were killed are missed after a minute.
    "queue: brokers of one migration's name": Allowance(10),
    "queue: memory, kB": Allowance(200),
    # Those of migrations elsewhere go by themselves, in time.
    "queue: keys": Allowance(None),
    "queue: keys, *": Allowance(None),
    # The history of a migration that stays; by how much in docs/reliability.md.
    "ledger: rows of events": Allowance(None),
    "ledger: on disk, kB": Allowance(1_000, 0.1),
    "logs: on disk, kB": Allowance(None),
    "*": Allowance(),
}

#: What commands leave open for a moment.
_BUSY = """
SELECT FROM pg_stat_activity
WHERE application_name ~ '^tenantry (?!worker|pool|exporter)' AND datname = current_database()
"""

_KEPT = """
name = "kept"
[database]
url = "env:DATABASE_URL"
[redis]
url = "{queue}"
[[tables]]
name = "kept"
tenant = {{ constant = "acme" }}
"""


@dataclass(frozen=True, slots=True)
class Service:
    """A `tenantry worker` or `exporter` that is scraped; started once."""

    process: subprocess.Popen[bytes]
    port: int

    def scrape(self) -> int:
        """What Prometheus would read, in bytes."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            return len(answer.read())

    def answers(self) -> bool:
        """Whether it can be scraped yet."""
        try:
            return self.scrape() > 0
        except OSError:
            return False

    def workers(self) -> list[int]:
        """Its worker processes, which dramatiq's parents have started."""
        return [pid for parent in measuring.children(self.process.pid) for pid in measuring.children(parent)]


@contextmanager
def _service(operator: Operator, *arguments: str, port: str) -> Iterator[Service]:
    given = free_port()
    with (operator.folder / f"{arguments[0]}-{given}.log").open("wb") as log:
        process = subprocess.Popen(
            [TENANTRY, *arguments, port, str(given)],
            cwd=operator.folder,
            env=operator.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Service(process, given)
    finally:
        process.terminate()
        process.wait(_PATIENCE)


@dataclass
class Soak:
    """Everything that stays while migrations come and go."""

    operator: Operator
    steady: Service
    struck: Service
    exporter: Service
    connection: psycopg.Connection
    client: "redis.Redis"
    temporary: Path

    def strike(self) -> None:
        """Kill one worker, and wait for the next one."""
        (worker,) = self.struck.workers()
        os.kill(worker, signal.SIGKILL)
        until(lambda: self.struck.workers() not in ([], [worker]), "another worker", within=_PATIENCE)

    def scrape(self) -> None:
        """As Prometheus does."""
        for service in (self.steady, self.struck, self.exporter):
            assert service.scrape()

    def sample(self) -> Sample:
        """What everything holds once it is at rest."""
        assert self.operator.tenantry("run", "--to", "columns", "--file", "kept.toml").returncode == 0
        until(
            lambda: self.connection.execute(_BUSY.encode()).rowcount == 0, "commands to end", within=_PATIENCE
        )
        self.scrape()
        return {
            **measuring.processes("workers", self.steady.workers()),
            **measuring.processes("their service", [self.steady.process.pid]),
            **measuring.processes("service of killed workers", [self.struck.process.pid]),
            **measuring.processes("exporter", [self.exporter.process.pid]),
            **measuring.server(self.connection),
            **measuring.queue(self.client),
            **measuring.ledger(self.connection),
            **measuring.files("temporary folder", self.temporary),
            **measuring.files("logs", self.operator.folder),
        }


@pytest.fixture
def soak(
    tmp_path: Path,
    database: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Soak]:
    """Two services of workers, of which one has its worker killed now and then, and an exporter."""
    temporary, folder = tmp_path / "temporary", tmp_path / "folder"
    temporary.mkdir()
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    operator = Operator(folder, database, postgres, valkey.url)
    plan = PLAN.format(name="soak", queue=valkey.url, paging="auto", n=0, rls="")
    operator.plan.write_text(plan)
    (folder / "kept.toml").write_text(_KEPT.format(queue=valkey.url))
    with (
        psycopg.connect(database, autocommit=True) as connection,
        redis.Redis.from_url(valkey.url) as client,
        _service(operator, "worker", "--workers", "2", port="--metrics-port") as steady,
        _service(operator, "worker", port="--metrics-port") as struck,
        _service(operator, "exporter", port="--port") as exporter,
    ):
        connection.execute("CREATE TABLE kept AS SELECT n AS id FROM generate_series(1, 10) AS n")
        made = Soak(operator, steady, struck, exporter, connection, client, temporary)
        until(
            lambda: len(steady.workers()) == 2 and len(struck.workers()) == 1, "the workers", within=_PATIENCE
        )
        until(exporter.answers, "the exporter", within=_PATIENCE)
        yield made


def test_many_small_migrations_leave_nothing_that_grows(soak: Soak, judge: Judge) -> None:
    churn = Churn(soak.operator, soak.strike)
    workers, every = soak.steady.workers(), max(1, MIGRATIONS // _SAMPLES)
    samples = []
    for nth in range(MIGRATIONS):
        churn.migrate(nth)
        soak.scrape()
        if nth % every == every - 1:
            samples.append(soak.sample())
    assert churn.killed > 0
    assert soak.steady.workers() == workers
    judge(samples, _ALLOWED)
