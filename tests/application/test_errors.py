"""The errors that docs/application.md tells of, met, and what it says against each."""

import asyncio
import threading

import asyncpg
import psycopg
import pytest
from psycopg import conninfo, errors

from control import guard, locks
from control.stages import columns
from sql.postgres.connection import connect
from tests.integration.migrated import ground, plan, read, take

_UPSERT = (
    "INSERT INTO graph_entities (id, entity_type, properties) VALUES (%s, 'x', '{{\"org_id\": \"acme\"}}') "
    "ON CONFLICT {} DO UPDATE SET entity_type = 'y'"
)
#: What the document says to write instead, before its UPDATE.
_SAFE = (
    "INSERT INTO graph_entities (id, entity_type, properties) VALUES (%s, 'x', '{\"org_id\": \"acme\"}') "
    "ON CONFLICT DO NOTHING"
)


def _add_the_column(operator: psycopg.Connection) -> None:
    with connect(operator.info.dsn, "test") as connection:
        take(columns.STAGE, ground(connection, plan()))


@pytest.mark.parametrize("state", ["unmigrated"], indirect=True)
def test_a_prepared_select_star_breaks_and_one_that_names_its_columns_does_not(
    application: psycopg.Connection, operator: psycopg.Connection
) -> None:
    named_ones = "SELECT id, properties FROM graph_entities LIMIT 1"
    for _ in range(7):
        application.execute("SELECT * FROM graph_entities LIMIT 1")
        application.execute(named_ones)
    _add_the_column(operator)
    with pytest.raises(errors.FeatureNotSupported, match="cached plan must not change result type"):
        application.execute("SELECT * FROM graph_entities LIMIT 1")
    application.execute(named_ones)
    with psycopg.connect(application.info.dsn, prepare_threshold=None) as unprepared:
        unprepared.execute("SELECT * FROM graph_entities LIMIT 1")


@pytest.mark.parametrize("state", ["unmigrated"], indirect=True)
def test_asyncpg_says_that_its_statement_is_of_before_within_a_transaction(
    url: str, operator: psycopg.Connection
) -> None:
    async def meet() -> None:
        given = conninfo.conninfo_to_dict(url)
        connection = await asyncpg.connect(
            host=str(given["host"]),
            port=int(given["port"] or 0),
            user=str(given["user"]),
            database=str(given["dbname"]),
        )
        await connection.fetchrow("SELECT * FROM graph_entities LIMIT 1")
        await asyncio.to_thread(_add_the_column, operator)
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            async with connection.transaction():
                await connection.fetchrow("SELECT * FROM graph_entities LIMIT 1")
        # Tried again it has another statement.
        assert await connection.fetchrow("SELECT * FROM graph_entities LIMIT 1") is not None
        await connection.close()

    asyncio.run(meet())


@pytest.mark.parametrize("state", ["migrated"], indirect=True)
def test_after_the_keys_there_is_no_key_of_the_id_alone_to_conflict_with(
    application: psycopg.Connection,
) -> None:
    with pytest.raises(errors.InvalidColumnReference):
        application.execute(_UPSERT.format("(id)").encode(), ["new"])


@pytest.mark.parametrize("state", ["migrated"], indirect=True)
def test_a_row_of_another_tenant_or_of_none_is_refused_by_a_strict_policy(
    application: psycopg.Connection,
) -> None:
    insert = "INSERT INTO graph_entities (id, entity_type, tenant_id) VALUES ('new', 'x', 'acme')"
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(insert)
    with application.transaction():
        application.execute("SELECT set_config('app.current_tenant_id', 'umbra', true)")
        with pytest.raises(errors.InsufficientPrivilege), application.transaction():
            application.execute(insert)
    with application.transaction():
        application.execute("SELECT set_config('app.current_tenant_id', 'acme', true)")
        application.execute(insert)


@pytest.mark.parametrize("state", ["half way"], indirect=True)
def test_with_two_unique_keys_an_upsert_may_fail_on_the_one_that_it_does_not_name(
    url: str, operator: psycopg.Connection
) -> None:
    operator.execute("CREATE UNIQUE INDEX ON graph_entities (id, tenant_id)")
    assert _failures(url, _UPSERT.format("(id)"), first=0, rounds=50_000) > 0
    assert _failures(url, _SAFE, first=50_000, rounds=1_000) == 0


def _failures(url: str, statement: str, *, first: int, rounds: int) -> int:
    """Have two sessions insert the same new ids at the same moments, until one fails; how often one did."""
    failed, together = [0], threading.Barrier(2)

    def insert() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for number in range(first, first + rounds):
                together.wait(30)
                if failed[0]:
                    return
                together.wait(30)
                try:
                    connection.execute(statement.encode(), [f"new-{number}"])
                except errors.UniqueViolation:
                    failed[0] += 1

    threads = [threading.Thread(target=insert, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return failed[0]


@pytest.mark.parametrize(
    ("state", "error"),
    [("half way", errors.NotNullViolation), ("migrated", errors.InsufficientPrivilege)],
    indirect=["state"],
)
def test_once_the_guard_has_gone_an_insert_names_its_tenant_or_fails(
    application: psycopg.Connection, operator: psycopg.Connection, sample: str, error: type[psycopg.Error]
) -> None:
    with connect(sample, "test") as before, connect(operator.info.dsn, "test") as connection:
        for step in guard.retire(plan(), read(before, plan())):
            locks.take(connection, step, notify=lambda _line: None)
    with application.transaction():
        application.execute("SELECT set_config('app.current_tenant_id', 'acme', true)")
        with pytest.raises(error), application.transaction():
            application.execute("INSERT INTO graph_entities (id, entity_type) VALUES ('new', 'x')")
