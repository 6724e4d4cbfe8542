"""What is wrong is one line and the right status, nothing is changed, and no password is seen anywhere."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from control import conductor
from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.plan.reading import read_plan
from sql.postgres.connection import connect
from tests.integration.operating import TENANTRY, complaint
from tests.integration.typist import typed
from tests.servers import start_postgres


def _tenantry(folder: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return typed(arguments, folder=folder, environment=os.environ | {"DATABASE_URL": url})


def _schemas(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace")}


@pytest.fixture(scope="module")
def remote() -> Iterator[EmbeddedPostgres]:
    """A server that is spoken to over TCP, and asks for passwords."""
    with start_postgres(tcp=True, settings={"fsync": "off"}) as server:
        with connect(server.url(), "test") as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=2_000)
        yield server


@pytest.fixture
def folder(tmp_path: Path, sample: str) -> Path:
    """A folder with the plan of the sample."""
    assert _tenantry(tmp_path, sample, "init").returncode == 0
    return tmp_path


def test_a_wrong_password_is_one_line_and_status_1(folder: Path, remote: EmbeddedPostgres) -> None:
    ended = _tenantry(folder, remote.tcp_url(password="wrong-hunter2"), "run")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "password authentication failed" in line
    assert "hunter2" not in line


def test_times_in_another_style_are_told_of_before_anything_is_done(folder: Path, sample: str) -> None:
    environment = os.environ | {"DATABASE_URL": sample, "PGDATESTYLE": "German"}
    for command in ("check", "run", "status"):
        ended = typed((command,), folder=folder, environment=environment)
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert "DateStyle German, DMY" in line
    assert not any(name.startswith("tenantry") for name in _schemas(sample))
    ended = typed(("check",), folder=folder, environment=environment | {"PGDATESTYLE": "ISO, DMY"})
    assert ended.returncode == 0, ended.stderr


def test_a_table_that_is_not_there_is_named_and_nothing_is_changed(folder: Path, sample: str) -> None:
    plan = folder / "migration.toml"
    plan.write_text(plan.read_text().replace("graph_entities", "graph_things"))
    ended = _tenantry(folder, sample, "run")
    assert ended.returncode == 2
    assert "graph_things" in complaint(ended.stderr)  # workers were started by then, and may have logged
    assert not any(name.startswith("tenantry") for name in _schemas(sample))


def test_a_second_run_beside_a_first_is_refused_and_changes_nothing(
    folder: Path, sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sample)
    with conductor.controller(read_plan(folder / "migration.toml")):
        ended = _tenantry(folder, sample, "run")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "another run of 'multi-tenancy' is active" in line
    assert not any(name.startswith("tenantry") for name in _schemas(sample))


def test_an_unreachable_queue_is_one_line_and_nothing_is_changed(folder: Path, sample: str) -> None:
    with (folder / "migration.toml").open("a") as plan:
        plan.write('[redis]\nurl = "redis://:hunter2@127.0.0.1:1/0"\n')
    ended = _tenantry(folder, sample, "run")
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "Redis at 127.0.0.1" in line
    assert "hunter2" not in line
    assert not any(name.startswith("tenantry") for name in _schemas(sample))


def test_init_writes_over_a_plan_only_when_told_to(folder: Path, sample: str) -> None:
    plan = folder / "migration.toml"
    plan.write_text("mine")
    assert _tenantry(folder, sample, "init").returncode == 2
    assert plan.read_text() == "mine"
    assert _tenantry(folder, sample, "init", "--force").returncode == 0
    assert 'name = "graph_entities"' in plan.read_text()


def _command_lines() -> str:
    """The arguments of every process of this machine, as any user may read them."""
    if not Path("/proc/self/cmdline").exists():
        return subprocess.run(
            ["ps", "-axww", "-o", "args"], check=True, capture_output=True, text=True
        ).stdout
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue  # it has ended since
    return "\n".join(lines)


def test_a_password_is_in_no_output_no_process_list_and_no_ledger(
    folder: Path, remote: EmbeddedPostgres
) -> None:
    # As long as the server's own, so that looking for it means something.
    password = remote.password
    seen = ""
    run = subprocess.Popen(
        [TENANTRY, "run"],
        cwd=folder,
        env=os.environ | {"DATABASE_URL": remote.tcp_url()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while run.poll() is None:
            seen += _command_lines()
        said = "".join(run.communicate(timeout=60))
    finally:
        run.kill()
        run.wait()
    assert "application waits" in said
    assert "worker.actors" in seen
    ledger = remote.run("pg_dump", "--schema=tenantry", remote.url()).stdout
    assert "COPY tenantry.migrations" in ledger
    assert password not in said + seen + ledger
