"""The signal `commit`: what commits take longer than before the first batch, while others are at work."""

from collections.abc import Callable, Iterator

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from sql.postgres.connection import connect
from tests.integration.governed import Watch, settings_of, watching
from tests.servers import start_postgres
from worker import version
from worker.governor import shared as shared_state

#: Every flush waits so long before it, in microseconds.
_SLOW = 60_000


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server whose commits wait for the disk, for they would not feel a delay of its flushes else."""
    with start_postgres(settings={"commit_siblings": "0"}) as started:
        yield started


@pytest.fixture
def watch(
    server: EmbeddedPostgres, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watch]:
    """A governor that samples twenty times a second."""
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.05)
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute("CREATE DATABASE commits")
        operator.execute("ALTER SYSTEM RESET commit_delay")
        operator.execute("SELECT pg_reload_conf()")
        with connect(server.url("commits"), "test") as connection:
            version.create(connection)
        with watching(server.url("commits"), valkey) as watching_:
            yield watching_
        operator.execute("DROP DATABASE commits WITH (FORCE)")


def _delay(server: EmbeddedPostgres, microseconds: int) -> None:
    with psycopg.connect(server.url(), autocommit=True) as operator:
        operator.execute(f"ALTER SYSTEM SET commit_delay = {microseconds}".encode())
        operator.execute("SELECT pg_reload_conf()")


def _at_work(watch: Watch) -> Callable[[], object]:
    def work() -> None:
        watch.shop.execute("SELECT 1")
        watch.shop.rollback()

    return work


def test_commits_that_take_longer_than_before_stop_batches_until_they_do_not(
    server: EmbeddedPostgres, watch: Watch
) -> None:
    settings = settings_of("commit", 0.03)
    work = _at_work(watch)
    watch.goes(settings, work)
    _delay(server, _SLOW)
    assert " before), stop at 0.03" in watch.holds("commit", settings, work)
    _delay(server, 0)
    watch.goes(settings, work)


def test_commits_that_took_as_long_before_the_first_batch_stop_nothing(
    server: EmbeddedPostgres, watch: Watch
) -> None:
    _delay(server, _SLOW)
    settings = settings_of("commit", 0.03)
    _at_work(watch)()
    watch.goes(settings)
    assert watch.sample(settings).values["commit"] < 0.03


def test_where_nobody_else_is_at_work_no_commit_is_too_slow(server: EmbeddedPostgres, watch: Watch) -> None:
    settings = settings_of("commit", 0.03)
    watch.shop.close()
    watch.goes(settings)
    _delay(server, _SLOW)
    sample = watch.sample(settings)
    assert sample.values["commit"] == 0.0
    assert sample.details["commit"] == "nobody else is at work"
