"""`sample load` and `sample application`, as the containers run them."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from tests.conftest import SAMPLE_ENTITIES
from tests.integration import two_codes
from tests.integration.operating import TENANTRY
from tests.integration.typist import typed
from tests.waiting import until

ENTITIES = 500


def _load(database: str, folder: Path, entities: int = ENTITIES) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATABASE_URL": database}
    return typed(["sample", "load", "--entities", str(entities)], folder=folder, environment=environment)


def _rows(database: str) -> tuple[int, ...]:
    with psycopg.connect(database) as connection:
        query = "SELECT (SELECT count(*) FROM graph_entities), (SELECT count(*) FROM graph_relations)"
        (row,) = connection.execute(query).fetchall()
        return row


def test_a_sample_that_is_there_is_left_as_it_is(database: str, tmp_path: Path) -> None:
    first = _load(database, tmp_path)
    assert (first.returncode, first.stdout) == (0, "loaded 500 entities, 1,000 relations\n")
    assert _rows(database) == (ENTITIES, 2 * ENTITIES)
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM graph_relations WHERE id < 'relation-0000000101'")
    again = _load(database, tmp_path, 600)
    assert (again.returncode, again.stdout) == (0, "there already: 500 entities, 1,000 relations\n")
    assert _rows(database) == (ENTITIES, 2 * ENTITIES - 100)


def test_a_load_that_was_broken_off_is_taken_up_again(database: str, tmp_path: Path) -> None:
    _load(database, tmp_path)
    with psycopg.connect(database) as connection:
        connection.execute("TRUNCATE graph_entities, graph_relations")
    assert _load(database, tmp_path, 600).stdout == "loaded 600 entities, 1,200 relations\n"
    assert _rows(database) == (600, 1200)


@pytest.mark.parametrize("table", ["graph_entities", "graph_relations"])
def test_tables_of_its_names_that_are_not_the_sample_s_are_left_alone(
    database: str, tmp_path: Path, table: str
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE TABLE {table} (mine int)".encode())
    refused = _load(database, tmp_path)
    assert refused.returncode == 2
    assert "which are not the sample's; name another database" in refused.stderr
    with psycopg.connect(database) as connection:
        tables = "SELECT relname FROM pg_class WHERE relname LIKE 'graph%' AND relkind = 'r'"
        assert connection.execute(tables).fetchall() == [(table,)]


def test_without_a_sample_the_application_says_how_to_get_one(sample: str, tmp_path: Path) -> None:
    environment = os.environ | {"DATABASE_URL": sample}  # one that the tests made, and nobody signed
    ended = typed(["sample", "application"], folder=tmp_path, environment=environment)
    assert (ended.returncode, "`tenantry sample load` puts one there" in ended.stderr) == (2, True)


@contextmanager
def _application(database: str, folder: Path, rate: int = 300) -> Iterator[Path]:
    """The application at work, and the file in which it says how; it must end well, without one error."""
    said = folder / "said"
    environment = os.environ | {"DATABASE_URL": conninfo.make_conninfo(database, user="graph_app")}
    with said.open("w") as out:
        process = subprocess.Popen(
            [TENANTRY, "sample", "application", "--rate", str(rate)], env=environment, stdout=out, stderr=out
        )
        try:
            yield said
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, said.read_text()
        finally:
            process.kill()
            process.wait()
    last = said.read_text().splitlines()[-1]
    assert last.startswith("stopped; application (")
    assert last.endswith(", 0 errors")


def _works(said: Path, code: str) -> bool:
    lines = said.read_text().splitlines()
    return any(f"application ({code} code)" in line and " 0 operations/s" not in line for line in lines[-2:])


def test_the_application_deploys_the_code_whose_key_came_last_and_has_no_error(
    sample: str, tmp_path: Path
) -> None:
    sign = f"COMMENT ON TABLE graph_entities IS 'the sample of tenantry, {SAMPLE_ENTITIES} entities'"
    with psycopg.connect(sample, autocommit=True) as connection:
        connection.execute(sign.encode())
        two_codes.add_tenants(connection)
        connection.execute("DROP INDEX graph_entities_id_tenant_id_idx")
        with _application(sample, tmp_path) as said:
            until(lambda: _works(said, "old"), "the old code")
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY ON graph_entities (id, tenant_id)")
            until(lambda: _works(said, "new"), "the new code")
            connection.execute("ALTER TABLE graph_entities DROP CONSTRAINT graph_entities_pkey CASCADE")
            lines = len(said.read_text().splitlines())
            until(lambda: len(said.read_text().splitlines()) > lines + 1, "a look at what is left")
            connection.execute("CREATE UNIQUE INDEX CONCURRENTLY old_again ON graph_entities (id)")
            until(lambda: _works(said, "old"), "the old code, on the way back")
        connection.execute("DROP INDEX old_again")
        with _application(sample, tmp_path) as said:  # over what the first left, in the code that fits
            until(lambda: _works(said, "new"), "the new code at once")
            assert "old code" not in said.read_text()
