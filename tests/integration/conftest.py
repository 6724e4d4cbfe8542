"""What several of these tests begin from."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from psycopg import sql

from control.conductor import settings_of
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from control.stage import Ground
from control.verification import baseline
from sql.database import Database
from sql.postgres.connection import connect
from sql.sqlite import connection as sqlite
from tests import schemas
from tests.integration.finished import Finished, on_record, operate
from tests.integration.migrated import finish, ground, plan
from tests.integration.operating import Operator
from tests.waiting import until
from worker import ledger, version

_finished = count(1)


@pytest.fixture
def operator(
    tmp_path: Path,
    sample: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An operator who has just written a plan."""
    monkeypatch.setenv("DATABASE_URL", sample)
    with connect(sample, "init") as connection:
        proposed = propose(connection, url="env:DATABASE_URL")
    (tmp_path / "migration.toml").write_text(proposed.replace('quiet = "10m"', 'quiet = "1s"'))
    return Operator(tmp_path, sample, postgres, valkey.url)


@pytest.fixture
def quiet_operator(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An operator whose plan, of the sample or one of `tests.schemas`, waits for hardly any quiet time."""
    schema: str = request.param
    if schema == "sample":
        sampled: Operator = request.getfixturevalue("operator")
        sampled.edit('quiet = "1s"', 'quiet = "100ms"')
        return sampled
    url: str = request.getfixturevalue("database")
    monkeypatch.setenv("DATABASE_URL", url)
    with connect(url, "test") as connection:
        connection.execute(schemas.statements(schema).encode())
    (tmp_path / "migration.toml").write_text(schemas.plan(schema))
    return Operator(tmp_path, url, postgres, valkey.url)


@pytest.fixture(scope="session")
def finished_template(postgres: EmbeddedPostgres, sample_template: str) -> Finished:
    """The finished sample, made once and copied from then on."""
    name = "finished_template"
    operate(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*map(sql.Identifier, (name, sample_template))),
    )
    with connect(postgres.url(name), "test") as connection:
        on = ground(connection, plan())
        finish(on)
        return Finished(name, on.original, on_record(on))


@pytest.fixture
def finished(postgres: EmbeddedPostgres, finished_template: Finished) -> Iterator[Ground]:
    """A fresh copy of the finished sample, to be broken."""
    name = f"finished_{next(_finished)}"
    operate(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            *map(sql.Identifier, (name, finished_template.database))
        ),
    )
    with connect(postgres.url(name), "test") as connection:
        on = ground(connection, plan(), finished_template.original, migration=finished_template.migration)
        if connection.info.server_version < 150_000:
            # A new database has no counters there until one is told of, and then reads as if they were reset.
            counted = (
                "SELECT FROM pg_stat_database WHERE datname = current_database() AND stats_reset IS NOT NULL"
            )
            until(lambda: connection.execute(counted).rowcount, "the database's first counters")
        baseline.keep(on)
        yield on
    operate(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(params=["postgres", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Database, int]]:
    """A ledger of one migration, whose id it is."""
    database: Database
    if request.param == "sqlite":
        (tmp_path / "graph.db").touch()
        database = sqlite.connect(f"sqlite:///{tmp_path}/graph.db")
    else:
        database = connect(request.getfixturevalue("database"), "worker a")
    with database:
        version.create(database)
        settings = settings_of(plan(), throttle=True)
        begun = ledger.begin(database, name="graph", tables=[], original={}, settings=settings)
        yield database, begun.id
