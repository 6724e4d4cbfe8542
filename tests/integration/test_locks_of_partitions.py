"""Strong locks on partitioned tables: no statement waits for one of them, and long work gets through."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from control.locks import take
from control.stage import Step
from sql.postgres.connection import Connection, connect

_PARTITIONS = 3


@pytest.fixture
def operator(database: str) -> Iterator[Connection]:
    with connect(database, "test") as connection:
        connection.execute("CREATE TABLE parted (id integer) PARTITION BY LIST (id)")
        for number in range(_PARTITIONS):
            connection.execute(
                f"CREATE TABLE parted_{number} PARTITION OF parted FOR VALUES IN ({number})".encode()
            )
        yield connection


def _step(statement: str) -> Step:
    return Step(
        "the step",
        sql.Composed([sql.SQL(statement)]),
        "ACCESS EXCLUSIVE",
        lambda _: False,
        tables=(sql.Identifier("parted"),),
    )


def test_a_statement_has_the_lock_of_every_partition_when_it_begins(operator: Connection) -> None:
    mine = "mode = 'AccessExclusiveLock' AND granted AND pid = pg_backend_pid()"
    operator.execute("CREATE TABLE seen AS SELECT 0::bigint AS locks")
    take(
        operator,
        _step(f"UPDATE seen SET locks = (SELECT count(*) FROM pg_locks WHERE {mine})"),
        notify=lambda _: None,
        attempts=1,
    )
    assert operator.execute("SELECT locks FROM seen").fetchone() == (_PARTITIONS + 1,)


def test_work_that_takes_longer_than_an_attempt_may_gets_more_at_the_next(operator: Connection) -> None:
    told: list[str] = []
    take(operator, _step("SELECT pg_sleep(0.7)"), notify=told.append, attempts=2)
    assert len(told) == 1
    assert told[0].startswith(
        "the step: it had its lock, and took more than 500 ms at attempt 1 of 2; again in"
    )
