"""Setting the tenant by each driver, on one connection that all share, as behind a transaction pooler."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import ModuleType

import psycopg
import pytest
from django.db import connections
from django.http import HttpRequest, HttpResponse
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from tests.application.drivers import DRIVERS, Driver, SQLAlchemy, with_django
from tests.application.stages import MIGRATED, STAGES, Databases

Module = Callable[[str], ModuleType]
Open = Callable[[str], Driver]

SEEN = """
    SELECT count(*), coalesce(current_setting('app.current_tenant_id', true), '')
    FROM graph_entities WHERE starts_with(id, 'entity-')
"""
FORGOTTEN = "SELECT coalesce(current_setting('app.current_tenant_id', true), '')"

pytestmark = pytest.mark.usefixtures("django_ready")


@pytest.fixture(params=DRIVERS)
def opened(request: pytest.FixtureRequest, databases: Databases, tenancy: Module) -> Iterator[Open]:
    """Open a connection of a driver to the database of a stage, for the length of the test."""
    with ExitStack() as held:

        def opening(stage: str) -> Driver:
            driver: Driver = held.enter_context(request.param(databases, stage, tenancy))
            return driver

        yield opening


def test_the_role_of_the_application_is_held_by_row_level_security(databases: Databases) -> None:
    with psycopg.connect(databases.url("strict")) as connection:
        found = connection.execute(
            "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert found == (False, False)


@pytest.mark.parametrize("stage", STAGES)
def test_tenants_that_take_turns_on_a_connection_see_their_own_and_leave_nothing_behind(
    opened: Open, tenancy: Module, stage: str
) -> None:
    acting_for = tenancy("context").acting_for
    driver = opened(stage)
    rows = 40 if stage in MIGRATED else 2000
    for tenant in ("org-01", "org-02", "org-01"):
        with acting_for(tenant):
            assert driver.scoped(SEEN) == [(rows, tenant)]
            assert driver.alone(FORGOTTEN) == [("",)]
    assert driver.scoped(SEEN) == [(0 if stage in MIGRATED else 2000, "")]


def test_a_transaction_that_fails_keeps_nothing_and_leaves_no_tenant_behind(
    opened: Open, tenancy: Module
) -> None:
    driver = opened("verified")
    with tenancy("context").acting_for("org-04"):
        with pytest.raises(Exception, match="division by zero"):
            driver.scoped("UPDATE graph_entities SET entity_type = 'failed'", "SELECT 1 / 0")
        assert driver.alone(FORGOTTEN) == [("",)]
        assert driver.scoped("SELECT count(*) FROM graph_entities WHERE entity_type = 'failed'") == [(0,)]


def test_set_outside_a_transaction_the_tenant_is_gone_before_the_next_statement(opened: Open) -> None:
    driver = opened("verified")
    driver.alone("SELECT set_config('app.current_tenant_id', 'org-01', true)")
    assert driver.alone(SEEN) == [(0, "")]


def test_set_for_the_session_the_tenant_is_there_for_whoever_comes_next(opened: Open) -> None:
    driver = opened("verified")
    driver.alone("SELECT set_config('app.current_tenant_id', 'org-01', false)")
    assert driver.scoped(SEEN) == [(40, "org-01")], "without a tenant of its own"


@pytest.mark.parametrize(
    "opened", [each for each in DRIVERS if each.__name__ != "with_sqlalchemy"], indirect=True
)
def test_inside_another_transaction_none_is_begun(opened: Open, tenancy: Module) -> None:
    with tenancy("context").acting_for("org-01"), pytest.raises(RuntimeError):
        opened("verified").nested()


def test_a_savepoint_of_sqlalchemy_leaves_the_transaction_its_tenant(
    databases: Databases, tenancy: Module
) -> None:
    acting_for = tenancy("context").acting_for
    engine = SQLAlchemy(databases.url("verified"), tenancy).engine
    with acting_for("org-01"), Session(engine) as session, session.begin():
        assert session.execute(text(SEEN)).one() == (40, "org-01")
        with acting_for("org-02"), session.begin_nested():
            assert session.execute(text(SEEN)).one() == (40, "org-01")
        assert session.execute(text(SEEN)).one() == (40, "org-01")
    engine.dispose()


def test_a_connection_of_sqlalchemy_past_any_session_has_its_tenant_too(
    databases: Databases, tenancy: Module
) -> None:
    engine = SQLAlchemy(databases.url("verified"), tenancy).engine
    with tenancy("context").acting_for("org-01"), engine.connect() as connection:
        assert connection.execute(text(SEEN)).one() == (40, "org-01")
    engine.dispose()


def test_an_engine_of_another_database_is_left_alone(databases: Databases, tenancy: Module) -> None:
    SQLAlchemy(databases.url("verified"), tenancy).engine.dispose()
    other = create_engine("sqlite://")
    with tenancy("context").acting_for("org-01"), other.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    other.dispose()


def test_an_engine_in_autocommit_has_no_transaction_to_hold_the_tenant(
    databases: Databases, tenancy: Module
) -> None:
    engine = SQLAlchemy(databases.url("verified"), tenancy).engine
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    with tenancy("context").acting_for("org-01"), Session(autocommit) as session:
        assert session.execute(text(SEEN)).one() == (0, "")
    engine.dispose()


@pytest.mark.parametrize("stage", ["unmigrated", "verified"])
def test_a_view_of_django_that_fails_has_written_nothing(
    databases: Databases, tenancy: Module, stage: str
) -> None:
    with with_django(databases, stage, tenancy) as driver:

        @tenancy("with_django").tenant_transaction(stage)  # type: ignore[untyped-decorator]  # a snippet's, so Any
        def view(_: HttpRequest) -> HttpResponse:
            with connections[stage].cursor() as cursor:
                cursor.execute("UPDATE graph_entities SET entity_type = 'seen by a view'")
                assert cursor.rowcount >= 40
            raise KeyError

        with tenancy("context").acting_for("org-05"):
            for _ in range(2):
                with pytest.raises(KeyError):
                    view(HttpRequest())
            left = driver.scoped("SELECT count(*) FROM graph_entities WHERE entity_type = 'seen by a view'")
    assert left == [(0,)]


def test_an_async_session_of_sqlalchemy_has_its_tenant_and_leaves_nothing_behind(
    databases: Databases, tenancy: Module
) -> None:
    tenancy("with_sqlalchemy")

    async def seen() -> list[tuple[int, str]]:
        engine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=partial(psycopg.AsyncConnection.connect, databases.url("verified")),
            poolclass=StaticPool,
        )
        found = []
        for tenant in ("org-01", "org-02"):
            with tenancy("context").acting_for(tenant):
                async with AsyncSession(engine) as session:
                    found.append(tuple((await session.execute(text(SEEN))).one()))
        async with AsyncSession(engine) as session:
            found.append(tuple((await session.execute(text(SEEN))).one()))
        await engine.dispose()
        return found

    assert asyncio.run(seen()) == [(40, "org-01"), (40, "org-02"), (0, "")]
