"""Every error that the document tells of, met on a real database, and what it says to do about it."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from types import ModuleType

import asyncpg
import psycopg
import pytest
from psycopg import errors

from control import guard, locks
from control.stages import columns, indexes, keys
from sql.postgres.connection import Connection, connect
from tests.application.stages import MIGRATED, STAGES, Databases
from tests.integration.migrated import fill, ground, plan_in, take, take_back
from tests.waiting import until

Module = Callable[[str], ModuleType]

ALL = "SELECT * FROM graph_entities WHERE id = 'entity-0000000001'"
NAMED = "SELECT id, entity_type, properties FROM graph_entities WHERE id = 'entity-0000000001'"
UPSERT = """
    INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('met', 'second', 'org-01')
    ON CONFLICT (id, tenant_id) DO UPDATE SET entity_type = excluded.entity_type
"""


@contextmanager
def session(url: str, **options: object) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True, **options) as connection:  # type: ignore[arg-type]  # a parameter each
        yield connection


@pytest.fixture
def copied(
    databases: Databases, copy_of: Callable[[str], str]
) -> Iterator[Callable[[str], tuple[Connection, str]]]:
    """Copy the database of a stage: our own session there, and its address for the application."""
    held: list[Connection] = []

    def copy(stage: str) -> tuple[Connection, str]:
        name = copy_of(stage)
        held.append(connect(databases.postgres.url(name), "test"))
        return held[-1], databases.postgres.url(name, "graph_app")

    yield copy
    for connection in held:
        connection.close()


# -- prepared SELECT * --------------------------------------------------------------------------------------


def test_what_psycopg_prepared_at_its_sixth_execution_fails_in_autocommit_for_good(
    copied: Callable[[str], tuple[Connection, str]],
) -> None:
    operator, url = copied("unmigrated")
    on = ground(operator, plan_in("strict"))
    with session(url) as there, session(url) as back, session(url, prepare_threshold=None) as unprepared:
        for times in range(1, 7):
            there.execute(ALL)
            there.execute(NAMED)
            unprepared.execute(ALL)
            prepared = there.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone()
            assert prepared == (2 if times == 6 else 0,)
        for _ in range(5):
            unprepared.execute(ALL)
        take(columns.STAGE, on)
        for _ in range(8):
            with pytest.raises(errors.FeatureNotSupported):
                there.execute(ALL)
            there.execute(NAMED)
            unprepared.execute(ALL)
            back.execute(ALL)
            back.execute(NAMED)
        take_back(columns.STAGE, on)
        with pytest.raises(errors.FeatureNotSupported):
            back.execute(ALL)
        back.execute(NAMED)
        unprepared.execute(ALL)


def test_a_transaction_that_is_rolled_back_makes_psycopg_forget_what_it_prepared(
    copied: Callable[[str], tuple[Connection, str]], tenancy: Module
) -> None:
    operator, url = copied("unmigrated")
    transaction = tenancy("with_psycopg").tenant_transaction
    with session(url) as connection:
        for _ in range(6):
            with transaction(connection):
                connection.execute(ALL)
        take(columns.STAGE, ground(operator, plan_in("strict")))
        with pytest.raises(errors.FeatureNotSupported), transaction(connection):
            connection.execute(ALL)
        with transaction(connection):
            connection.execute(ALL)


def test_asyncpg_fails_in_a_transaction_once_and_outside_of_one_never(
    copied: Callable[[str], tuple[Connection, str]], tenancy: Module
) -> None:
    operator, url = copied("unmigrated")
    on = ground(operator, plan_in("strict"))
    transaction = tenancy("with_asyncpg").tenant_transaction

    async def work() -> None:
        inside, outside = await asyncpg.connect(url), await asyncpg.connect(url)
        uncached = await asyncpg.connect(url, statement_cache_size=0)
        try:
            for connection in (inside, outside, uncached):
                await connection.fetch(ALL)
                await connection.fetch(NAMED)
            take(columns.STAGE, on)
            async with transaction(inside):
                await inside.fetch(NAMED)
            with pytest.raises(asyncpg.exceptions.InvalidCachedStatementError):
                async with transaction(inside):
                    await inside.fetch(ALL)
            async with transaction(inside):
                assert "tenant_id" in (await inside.fetch(ALL))[0]
            assert "tenant_id" in (await outside.fetch(ALL))[0]
            async with transaction(uncached):
                assert "tenant_id" in (await uncached.fetch(ALL))[0]
        finally:
            for connection in (inside, outside, uncached):
                await connection.close()

    asyncio.run(work())


# -- two keys -----------------------------------------------------------------------------------------------


@contextmanager
def met(
    operator: Connection, url: str, second: Callable[[psycopg.Connection], None]
) -> Iterator[Callable[[], None]]:
    """Let `second` meet an insert of the same id that stands between the old key's index and the new one's.

    An index between the two, by the order in which they were made, holds the first insert there.
    """
    fill(operator)
    operator.execute(
        """
        CREATE FUNCTION hold(id text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN
          IF id = 'met' AND current_setting('application_name') = 'first' THEN
            PERFORM pg_advisory_xact_lock_shared(1);
          END IF;
          RETURN 0;
        END $$;
        CREATE INDEX held ON graph_entities (hold(id));
        """
    )
    take(indexes.STAGE, ground(operator, plan_in("strict")))
    operator.execute("SELECT pg_advisory_lock(1)")

    def waiting() -> int:
        (waiting,) = operator.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone() or (0,)
        return int(waiting)

    with (
        session(url, application_name="first") as one,
        session(url, application_name="second") as other,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(
            one.execute,
            "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('met', 'first', 'org-01')",
        )
        until(lambda: waiting() == 1, "the first insert, between two indexes")
        outcome = pool.submit(second, other)
        until(lambda: waiting() == 2, "the second, behind the first")
        operator.execute("SELECT pg_advisory_unlock(1)")
        first.result(30)
        yield partial(outcome.result, 30)


def test_in_the_two_key_window_an_upsert_fails_by_the_index_that_it_does_not_name(
    copied: Callable[[str], tuple[Connection, str]],
) -> None:
    operator, url = copied("unfilled")

    def upsert(connection: psycopg.Connection) -> None:
        connection.execute(UPSERT)

    with met(operator, url, upsert) as outcome, pytest.raises(errors.UniqueViolation) as failed:
        outcome()
    assert failed.value.diag.constraint_name == "graph_entities_pkey"


@pytest.mark.parametrize("way", ["once more", "the store's"])
def test_in_the_two_key_window_a_second_try_and_the_store_find_the_row_that_they_met(
    copied: Callable[[str], tuple[Connection, str]], tenancy: Module, way: str
) -> None:
    operator, url = copied("unfilled")

    def upsert(connection: psycopg.Connection) -> None:
        def transaction() -> None:
            with tenancy("with_psycopg").tenant_transaction(connection):
                connection.execute(UPSERT)

        with tenancy("context").acting_for("org-01"):
            if way == "once more":
                tenancy("again").once_more(transaction)
            else:
                stages = tenancy("stage").Stages("graph_entities")
                tenancy("store").TenantAwareStore(connection, stages).put_entity("met", "second", {})

    with met(operator, url, upsert) as outcome:
        outcome()
    assert operator.execute("SELECT entity_type FROM graph_entities WHERE id = 'met'").fetchall() == [
        ("second",)
    ]


def test_a_second_violation_is_a_real_one(databases: Databases, tenancy: Module) -> None:
    with session(databases.url("unmigrated")) as connection, pytest.raises(errors.UniqueViolation):
        tenancy("again").once_more(
            lambda: connection.execute(
                "INSERT INTO graph_entities (id, entity_type) VALUES ('entity-0000000001', 'x')"
            )
        )


@pytest.mark.parametrize("stage", STAGES)
def test_on_conflict_by_the_old_key_fails_after_keys_and_by_the_new_one_before_indexes(
    databases: Databases, stage: str
) -> None:
    old = """
        INSERT INTO graph_entities (id, entity_type, properties)
        VALUES ('entity-0000000001', 'x', '{"org_id": "org-01"}') ON CONFLICT (id) DO NOTHING
    """
    new = """
        INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('entity-0000000001', 'x', 'org-01')
        ON CONFLICT (id, tenant_id) DO NOTHING
    """

    def state(statement: str) -> str | None:
        with session(databases.url(stage)) as connection, connection.transaction(force_rollback=True):
            connection.execute("SELECT set_config('app.current_tenant_id', 'org-01', true)")
            try:
                connection.execute(statement)
            except errors.DatabaseError as error:
                return error.sqlstate
        return None

    assert state(old) == ("42P10" if stage in MIGRATED else None)
    assert state(new) == {"unmigrated": "42703", "unfilled": "42P10"}.get(stage)


# -- tenants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["strict", "verified"])
@pytest.mark.parametrize(("acting", "named"), [(None, None), (None, "org-01"), ("org-02", "org-01")])
def test_under_strict_policies_a_write_without_a_tenant_or_for_another_is_refused(
    databases: Databases, tenancy: Module, stage: str, acting: str | None, named: str | None
) -> None:
    def write(connection: psycopg.Connection) -> None:
        with tenancy("with_psycopg").tenant_transaction(connection):
            if named is None:
                connection.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('unheard of', 'x')")
            else:
                connection.execute(
                    "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('unheard of', 'x', %s)",
                    [named],
                )

    scope = nullcontext() if acting is None else tenancy("context").acting_for(acting)
    with session(databases.url(stage)) as connection, scope, pytest.raises(errors.InsufficientPrivilege):
        write(connection)


def test_once_the_guard_is_gone_an_insert_has_to_name_its_tenant_with_policies_and_without(
    databases: Databases, copied: Callable[[str], tuple[Connection, str]], tenancy: Module
) -> None:
    statement = """
        INSERT INTO graph_entities (id, entity_type, properties)
        VALUES ('unnamed', 'x', '{"org_id": "org-01"}')
    """

    def insert(url: str) -> None:
        with (
            session(url) as connection,
            tenancy("context").acting_for("org-01"),
            tenancy("with_psycopg").tenant_transaction(connection),
        ):
            connection.execute(statement)

    insert(databases.url("strict"))
    with pytest.raises(errors.InsufficientPrivilege):
        insert(databases.url("verified"))
    operator, url = copied("halfway")
    on = ground(operator, plan_in("strict"))
    take(keys.STAGE, on)
    for step in guard.retire(on.plan, on.original):
        locks.take(operator, step, notify=on.notify)
    with pytest.raises(errors.NotNullViolation):
        insert(url)


@pytest.mark.parametrize(
    ("stage", "seen"), [("permissive", ["of default"]), ("strict", []), ("verified", [])]
)
def test_a_read_without_a_tenant_sees_the_legacy_one_or_nothing_and_is_no_error(
    databases: Databases, tenancy: Module, stage: str, seen: list[str]
) -> None:
    acting_for = tenancy("context").acting_for
    with session(databases.url(stage)) as connection:
        store = tenancy("store").TenantAwareStore(connection, tenancy("stage").Stages("graph_entities"))
        for tenant in ("default", "org-01"):
            with acting_for(tenant):
                store.put_entity(f"of {tenant}", "read without", {})
        assert list(store.entities("read without")) == seen
