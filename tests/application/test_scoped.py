"""The tenant of a transaction, by each driver of the document, before, during and after the migration."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import asyncpg
import django
import psycopg
import pytest
from django.conf import settings
from django.db import connections
from django.http import HttpRequest, HttpResponse
from psycopg import conninfo
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

from tests.application.conftest import Named

_COUNT = "SELECT count(*) FROM graph_entities"
_SETTING = "SELECT current_setting('app.current_tenant_id', true)"

#: What a session sees of the 2,000 entities, 40 of them org-01's: by itself, and for that tenant.
SEEN = {"unmigrated": (2000, 2000), "half way": (2000, 2000), "migrated": (0, 40)}
#: The same while the policies aren't strict yet, with another organisation as the legacy tenant.
SEEN |= {"observe": (2000, 40), "permissive": (40, 40)}


@pytest.mark.parametrize("state", SEEN, indirect=True)
def test_psycopg_sees_one_tenant_for_a_transaction_and_nobody_the_next(
    named: Named, application: psycopg.Connection, state: str
) -> None:
    scoped, acting_for = named("scoped_psycopg").scoped, named("tenancy").acting_for
    alone, own = SEEN[state]
    with scoped(application) as cursor:
        assert cursor.execute(_COUNT).fetchone() == (alone,)
    with acting_for("org-01"), scoped(application) as cursor:
        assert cursor.execute(_COUNT).fetchone() == (own,)
    assert application.execute(_SETTING).fetchone() == ("",), "not NULL, and no tenant"
    assert application.execute(_COUNT).fetchone() == (alone,)


@pytest.mark.parametrize("state", ["migrated"], indirect=True)
def test_psycopg_refuses_a_tenant_that_would_outlive_its_scope(
    named: Named, application: psycopg.Connection, url: str
) -> None:
    scoped, acting_for = named("scoped_psycopg").scoped, named("tenancy").acting_for
    with acting_for("org-01"), scoped(application), scoped(application) as inner:
        assert inner.execute(_COUNT).fetchone() == (40,)
        with pytest.raises(RuntimeError, match="began without"), acting_for("org-02"), scoped(application):
            pass
        assert inner.execute(_SETTING).fetchone() == ("org-01",)
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(RuntimeError, match="began without"), acting_for("org-01"), scoped(connection):
            pass
        assert connection.execute(_COUNT).fetchone() == (0,)


def test_what_is_set_outside_a_transaction_is_over_at_once(application: psycopg.Connection) -> None:
    application.execute("SELECT set_config('app.current_tenant_id', 'org-01', true)")
    assert application.execute(_SETTING).fetchone() == ("",)


def test_sqlalchemy_sees_one_tenant_in_every_transaction_of_a_session(
    named: Named, url: str, state: str
) -> None:
    named("scoped_sqlalchemy")
    acting_for, (alone, own) = named("tenancy").acting_for, SEEN[state]
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=QueuePool, pool_size=1
    )
    with Session(engine) as session:
        with acting_for("org-01"):
            assert session.scalar(text(_COUNT)) == own
            session.commit()
            assert session.scalar(text(_COUNT)) == own
            session.rollback()
        assert session.scalar(text(_COUNT)) == alone
    with acting_for("org-01"), engine.begin() as connection:
        assert connection.scalar(text(_COUNT)) == own
    with engine.connect() as connection:
        assert connection.scalar(text(_COUNT)) == alone
    engine.dispose()


def test_asyncpg_sees_one_tenant_for_a_transaction_and_tasks_beside_each_other_their_own(
    named: Named, url: str, state: str
) -> None:
    scoped, acting_for = named("scoped_asyncpg").scoped, named("tenancy").acting_for
    alone, own = SEEN[state]

    async def see(pool: Any, tenant: str | None) -> int:
        with ExitStack() as acting:
            if tenant is not None:
                acting.enter_context(acting_for(tenant))
            async with pool.acquire() as connection, scoped(connection), scoped(connection) as inside:
                with pytest.raises(RuntimeError), acting_for("org-02"):
                    async with scoped(connection):
                        pass
                return int(await inside.fetchval(_COUNT))

    async def all_of_them() -> list[int]:
        given = conninfo.conninfo_to_dict(url)
        pool = asyncpg.create_pool(
            host=str(given["host"]),
            port=int(given["port"] or 0),
            user=str(given["user"]),
            database=str(given["dbname"]),
            min_size=2,
            max_size=2,
        )
        async with pool:
            return list(await asyncio.gather(*(see(pool, tenant) for tenant in ("org-01", None) * 5)))

    assert asyncio.run(all_of_them()) == [own, alone] * 5


@pytest.fixture
def django_database(url: str) -> Iterator[None]:
    """Django's one database is this one."""
    given = conninfo.conninfo_to_dict(url)
    address = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": given["dbname"],
        "USER": given["user"],
        "HOST": given["host"],
        "PORT": given["port"],
    }
    if not settings.configured:
        settings.configure(DATABASES={"default": address}, ALLOWED_HOSTS=["*"])
        django.setup()
    connections["default"].settings_dict.update(address)
    yield
    connections["default"].close()


@pytest.mark.usefixtures("django_database")
@pytest.mark.parametrize(("header", "status"), [("org-01", 200), ("org-02", 403), ("a b", 400), (None, 400)])
def test_a_request_of_django_sees_the_tenant_that_it_may_act_for(
    named: Named, state: str, header: str | None, status: int
) -> None:
    seen: list[int] = []

    def count() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute(_COUNT)
            seen.append(cursor.fetchone()[0])

    def view(_request: HttpRequest) -> HttpResponse:
        count()
        return HttpResponse()

    request = HttpRequest()
    request.tenants = {"org-01"}  # as an application's authentication sets it
    if header is not None:
        request.META["HTTP_X_TENANT_ID"] = header
    assert named("scoped_django").TenantMiddleware(view)(request).status_code == status
    count()
    assert seen == ([SEEN[state][1]] if status == 200 else []) + [SEEN[state][0]]


@pytest.mark.usefixtures("django_database")
@pytest.mark.parametrize("state", ["migrated"], indirect=True)
def test_a_request_of_django_that_fails_leaves_nothing_behind(
    named: Named, operator: psycopg.Connection
) -> None:
    insert = "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('new', 'x', 'org-01')"

    def view(_request: HttpRequest) -> HttpResponse:
        with connections["default"].cursor() as cursor:
            cursor.execute(insert)
        with (
            pytest.raises(RuntimeError),
            named("tenancy").acting_for("org-02"),
            named("scoped_django").scoped(),
        ):
            pass
        return HttpResponse(status=500)

    request = HttpRequest()
    request.tenants, request.META["HTTP_X_TENANT_ID"] = {"org-01"}, "org-01"
    named("scoped_django").TenantMiddleware(view)(request)
    assert operator.execute("SELECT FROM graph_entities WHERE id = 'new'").rowcount == 0
