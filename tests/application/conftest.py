"""The document's package, and the sample graph at each stage that it is for."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from types import ModuleType

import django
import pytest
from django.conf import settings
from psycopg import sql

from control import guard, locks
from control.embedded.postgres import EmbeddedPostgres
from control.stage import Ground
from control.stages import columns, indexes, keys, rls
from sql.postgres.connection import connect
from tests.application import document
from tests.application.stages import STAGES, Databases
from tests.integration.finished import operate
from tests.integration.migrated import fill, ground, plan_in, read, take

_copies = count(1)


@pytest.fixture(scope="session")
def tenancy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the package by its name: `tenancy("store")`."""
    folder = tmp_path_factory.mktemp("application")
    document.write(folder)
    sys.path.insert(0, str(folder))
    yield lambda name: import_module(f"tenancy.{name}")
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def django_ready() -> None:
    """Django set up, without a database."""
    settings.configure(SECRET_KEY="test", ALLOWED_HOSTS=["testserver"])
    django.setup()


@pytest.fixture(scope="session")
def databases(postgres: EmbeddedPostgres, sample_template: str) -> Databases:
    """The sample graph at each stage, made once; tests that share one write under names of their own."""
    permissive, strict = plan_in("permissive"), plan_in("strict")
    before = sample_template
    original = None
    for stage in STAGES:
        name = f"application_{stage}"
        _copy(postgres, before, name)
        with connect(postgres.url(name), "test") as connection:
            original = original or read(connection, strict)
            on = ground(connection, strict, original, confirmed=frozenset({"rls"}))
            if stage == "unfilled":
                take(columns.STAGE, on)
            elif stage == "halfway":
                fill(connection)
                take(indexes.STAGE, on)
            elif stage == "permissive":
                take(keys.STAGE, on)
                take(rls.STAGE, Ground(permissive, original, connection, on.memory))
            elif stage == "strict":
                take(rls.STAGE, on)
            elif stage == "verified":
                for step in guard.retire(strict, original):
                    locks.take(connection, step, notify=on.notify)
        before = name
    return Databases(postgres)


@pytest.fixture
def copy_of(postgres: EmbeddedPostgres, databases: Databases) -> Iterator[Callable[[str], str]]:
    """Copy the database of a stage, to be changed: gives the copy's name."""
    made: list[str] = []

    def copy(stage: str) -> str:
        made.append(f"application_copy_{next(_copies)}")
        _copy(postgres, databases.name(stage), made[-1])
        return made[-1]

    yield copy
    for name in made:
        operate(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _copy(postgres: EmbeddedPostgres, template: str, name: str) -> None:
    operate(
        postgres,
        sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)),
    )
