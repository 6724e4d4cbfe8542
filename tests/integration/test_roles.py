"""Least privilege: a whole migration with what `roles --sql` grants, and what each role may not do."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from tests.integration.privileged import CONTROLLER, EXPORTER, WORKER, Privileged, privileged
from tests.servers import start_postgres
from tests.waiting import until

_ENTITIES, _RELATIONS = 2_000, 4_000


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server of its own, for roles are a server's: it counts no functions' calls by itself, and archives."""
    settings = {
        "fsync": "off",
        "shared_buffers": "64MB",
        "track_functions": "none",
        "archive_mode": "on",
        "archive_command": "true",
    }
    with start_postgres(settings=settings) as started:
        with psycopg.connect(started.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE graph")
        with psycopg.connect(started.url("graph"), autocommit=True) as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=_ENTITIES, relations=_RELATIONS)
        yield started


@pytest.fixture
def operator(server: EmbeddedPostgres, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Privileged]:
    """An operator of the sample whose plan names the roles, before there are any."""
    with privileged(server, "graph", tmp_path, valkey.url) as made:
        yield made


def test_a_whole_migration_takes_what_the_script_grants_and_no_more(operator: Privileged) -> None:
    script = operator.script()
    operator.run_script(script)
    before = operator.schema("--exclude-schema=tenantry*")
    operator.run_script(script)
    assert operator.schema("--exclude-schema=tenantry*") == before
    with operator.serving(WORKER, "worker"), operator.serving(EXPORTER, "exporter") as port:
        for command, status in (
            (("check",), 0),
            (("run",), 3),
            (("confirm", "application"), 0),
            (("run",), 3),
        ):
            ended = operator.as_(CONTROLLER, *command)
            print(command, ended.returncode, ended.stdout, ended.stderr)
        print(urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()[:500])
    print((operator.folder / "worker.log").read_text()[-3000:])
    print((operator.folder / "exporter.log").read_text()[-3000:])
    assert 0
