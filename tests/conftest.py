"""Real servers for the tests: one PostgreSQL and one Valkey for each pytest process, a database each test."""

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

import hypothesis
import psycopg
import pytest
from psycopg import sql

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey, start_valkey
from tests.servers import postgres_of_this_process

SAMPLE_ENTITIES = 2_000
SAMPLE_RELATIONS = 4_000

_names = count(1)

# An example that takes longer than Hypothesis's 200 ms says that the machine is busy, and nothing of us.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL 18 that no other pytest process has."""
    with postgres_of_this_process() as server:
        yield server


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of this pytest process; what one test leaves in it, the next one finds."""
    with start_valkey() as server:
        yield server


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a fresh, empty database."""
    yield from _copy_of("template1", postgres)


@pytest.fixture(scope="session")
def sample_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database with the sample graph, made once of a server and only copied from then on."""
    name = "sample_template"
    with suppress(psycopg.errors.DuplicateDatabase):
        _operate(postgres, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(postgres.url(name), autocommit=True) as connection:
            sample_graph.create(connection)
            sample_graph.fill(connection, entities=SAMPLE_ENTITIES, relations=SAMPLE_RELATIONS)
    return name


@pytest.fixture
def sample(postgres: EmbeddedPostgres, sample_template: str) -> Iterator[str]:
    """The URL of a fresh copy of the sample graph: 2,000 entities and 4,000 relations."""
    yield from _copy_of(sample_template, postgres)


@pytest.fixture
def connection(sample: str) -> Iterator[psycopg.Connection]:
    """A connection to the test's copy of the sample graph, in autocommit."""
    with psycopg.connect(sample, autocommit=True) as opened:
        yield opened


def _copy_of(template: str, server: EmbeddedPostgres) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_names)}"
    _operate(
        server,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)),
    )
    yield server.url(name)
    # FORCE: a test that failed may have left sessions, and they must not fail the next one.
    _operate(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _operate(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(statement)
