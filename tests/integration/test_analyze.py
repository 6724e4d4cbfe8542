"""An ANALYZE by autovacuum comes after the batches of its table."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from sql.postgres.analyze import put_off
from sql.postgres.connection import connect
from tests.servers import start_postgres
from tests.waiting import until

#: Autovacuum looks every second, and is kept at work by its cost limit.
_SLOW = {
    "autovacuum_naptime": "1s",
    "autovacuum_vacuum_cost_limit": "1",
    "autovacuum_vacuum_cost_delay": "100ms",
}
_TABLE = sql.Identifier("public", "changing")
_AT_WORK = "SELECT pid FROM pg_stat_progress_analyze WHERE relid = 'changing'::regclass"


@pytest.fixture(scope="module")
def changing() -> Iterator[str]:
    """A table with statistics, which autovacuum analyses anew, and takes its time."""
    with start_postgres(settings=_SLOW) as server:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            # Never vacuumed by itself: it would be at that, as slowly, before it came to analyse.
            connection.execute(
                "CREATE TABLE changing (id int, filler text) "
                "WITH (autovacuum_vacuum_threshold = 2000000000, autovacuum_vacuum_insert_threshold = -1)"
            )
            connection.execute(
                "INSERT INTO changing SELECT n, repeat('x', 500) FROM generate_series(1, 20000) AS n"
            )
            connection.execute("VACUUM changing")
        yield server.url()


def _analyzer(connection: psycopg.Connection) -> int:
    """The process of an ANALYZE at work."""
    connection.execute("UPDATE changing SET id = id WHERE id % 2 = 0")
    found = until(lambda: connection.execute(_AT_WORK).fetchone(), "an ANALYZE by autovacuum")
    assert found is not None
    return int(found[0])


def test_an_analyze_by_autovacuum_is_put_off_while_its_table_is_filled(changing: str) -> None:
    with psycopg.connect(changing, autocommit=True) as look, connect(changing, "test") as connection:
        at_work = _analyzer(look)
        assert put_off(connection, _TABLE, since=datetime.now(UTC))
        assert look.execute(f"{_AT_WORK} AND pid = {at_work}").fetchone() is None
        held = "SELECT count(*) FROM pg_locks WHERE relation = 'changing'::regclass AND pid = %s"
        assert look.execute(held, [connection.info.backend_pid]).fetchone() == (0,)


def test_an_analyze_that_is_more_than_an_hour_late_is_let_go_on(changing: str) -> None:
    with psycopg.connect(changing, autocommit=True) as look, connect(changing, "test") as connection:
        at_work = _analyzer(look)
        assert not put_off(connection, _TABLE, since=datetime.now(UTC) - timedelta(hours=2))
        assert look.execute(f"{_AT_WORK} AND pid = {at_work}").fetchone() is not None


def test_a_table_that_nobody_analyses_is_let_alone(changing: str) -> None:
    with connect(changing, "test") as connection:
        assert not put_off(connection, sql.Identifier("pg_catalog", "pg_class"), since=datetime.now(UTC))
