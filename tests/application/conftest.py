"""The document's modules, and databases before, during and after their migration."""

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from types import ModuleType

import psycopg
import pytest
from psycopg import sql

from control.embedded.postgres import EmbeddedPostgres
from control.stages import columns
from sql.postgres.connection import connect
from tests.application.document import blocks
from tests.integration.migrated import fill, finish, ground, plan, plan_in, take

#: Before, half way (the column is there, the old key still), and after every stage, strict.
STATES = ("unmigrated", "half way", "migrated")

Named = Callable[[str], ModuleType]
_copies = count(1)


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Named]:
    """Imports a module of the document by its name."""
    folder = tmp_path_factory.mktemp("application")
    for name, code in blocks().items():
        (folder / name).write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def template(postgres: EmbeddedPostgres, sample_template: str) -> Callable[[str], str]:
    """Gives the name of a database in a state, made when first asked for and copied from then on."""

    @cache
    def made(state: str) -> str:
        if state == "unmigrated":
            return sample_template
        name = f"application_{state.replace(' ', '_')}"
        _copy(postgres, sample_template, name)
        with connect(postgres.url(name), "test") as connection:
            if state == "half way":
                take(columns.STAGE, ground(connection, plan()))
                fill(connection)
            else:
                modes = plan_in("strict" if state == "migrated" else state, legacy="org-01")
                finish(ground(connection, modes))
        return name

    return made


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest) -> str:
    """How far the migration is."""
    found: str = request.param
    return found


@pytest.fixture
def url(postgres: EmbeddedPostgres, template: Callable[[str], str], state: str) -> Iterator[str]:
    """The address of a fresh database in that state, as the role of the application."""
    name = f"application_copy_{next(_copies)}"
    _copy(postgres, template(state), name)
    yield postgres.url(name, "graph_app")
    with psycopg.connect(postgres.url(), autocommit=True) as operator:
        operator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def application(url: str) -> Iterator[psycopg.Connection]:
    """A connection of the application, in autocommit."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def operator(postgres: EmbeddedPostgres, application: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A connection of the operator to the same database."""
    with psycopg.connect(postgres.url(application.info.dbname), autocommit=True) as connection:
        yield connection


def _copy(server: EmbeddedPostgres, template: str, name: str) -> None:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )
