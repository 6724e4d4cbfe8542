"""Taking a lock: who is in the way is named, nobody waits long for us, and half-made things are cleared."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.stage import How, Step
from control.stages import columns, indexes
from sql.errors import CatalogError, LockNotGotError
from sql.postgres.connection import Connection, connect
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker
from tests.waiting import until


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start of the sample."""
    with connect(sample, "test") as connection:
        yield Walker(connection, Plan.model_validate(SAMPLE), postgres)


@pytest.fixture
def other(sample: str) -> Iterator[Connection]:
    """Somebody else's session."""
    with connect(sample, "somebody") as connection:
        yield connection


def _add_column(walker: Walker) -> Step:
    return next(iter(columns.STAGE.steps(walker.plan, walker.original)))


def _build_index(walker: Walker) -> Step:
    return next(iter(indexes.STAGE.steps(walker.plan, walker.original)))


@pytest.mark.parametrize("mode", ["ACCESS SHARE", "SHARE"], ids=["at the lock", "at the announcement"])
def test_who_holds_the_lock_is_named_when_it_is_not_got(walker: Walker, other: Connection, mode: str) -> None:
    step = _add_column(walker)
    with other.transaction():
        other.execute(psycopg.sql.SQL("LOCK TABLE graph_entities IN {} MODE").format(psycopg.sql.SQL(mode)))
        with pytest.raises(LockNotGotError) as raised:
            take(walker.connection, step, notify=lambda _: None, attempts=1)
    assert raised.value.what == step.what
    for fact in (
        f"pid {other.info.backend_pid}",
        "postgres",
        "tenantry somebody",
        "LOCK TABLE graph_entities",
    ):
        assert fact in raised.value.blockers
    assert not step.done(walker.live())


def test_only_those_in_the_way_are_named(walker: Walker, other: Connection, sample: str) -> None:
    step = _add_column(walker)
    with connect(sample, "reader of another table") as reader, reader.transaction(), other.transaction():
        reader.execute("SELECT FROM graph_relations LIMIT 1")
        other.execute("SELECT FROM graph_entities LIMIT 1")
        with pytest.raises(LockNotGotError) as raised:
            take(walker.connection, step, notify=lambda _: None, attempts=1)
    assert raised.value.blockers.count("pid ") == 1


def test_a_lock_not_got_is_tried_again_and_the_operator_hears_who_blocks(
    walker: Walker, other: Connection
) -> None:
    step = _add_column(walker)
    told: list[str] = []
    other.execute("BEGIN")
    other.execute("SELECT FROM graph_entities LIMIT 1")

    def notify(line: str) -> None:
        told.append(line)
        other.execute("COMMIT")

    take(walker.connection, step, notify=notify, attempts=2)
    assert step.done(walker.live())
    assert len(told) == 1
    assert f"pid {other.info.backend_pid}" in told[0]


def test_a_brief_step_is_bounded_and_an_online_one_is_not(walker: Walker) -> None:
    limits = "current_setting('lock_timeout'), current_setting('statement_timeout')"
    walker.connection.execute("CREATE TABLE seen (how text, lock text, statement text)")
    walker.connection.execute("SET lock_timeout = '7s'")
    for how in (How.BRIEF, How.ONLINE):
        statement = psycopg.sql.SQL(f"INSERT INTO seen SELECT {{}}, {limits}").format(how.value)
        step = Step("look", psycopg.sql.Composed([statement]), "ACCESS EXCLUSIVE", lambda _: False, how)
        step = Step(step.what, step.statement, step.lock, step.done, how, (psycopg.sql.Identifier("seen"),))
        take(walker.connection, step, notify=lambda _: None)
    seen = walker.connection.execute("SELECT * FROM seen").fetchall()
    assert seen == [("brief", "50ms", "600ms"), ("online", "0", "0")]
    session = walker.connection.execute(f"SELECT {limits}").fetchone()
    assert session == ("0", "0"), "as the connection was opened"


def test_an_interrupted_index_is_dropped_and_built_again(walker: Walker, other: Connection) -> None:
    _until_indexes(walker)
    step = _build_index(walker)
    _leave_invalid(walker, other, step)
    take(walker.connection, step, notify=lambda _: None)
    assert step.done(walker.live())


def test_another_index_of_that_name_is_left_alone(walker: Walker) -> None:
    _until_indexes(walker)
    walker.connection.execute("CREATE INDEX idx_entities_tenant ON graph_entities (entity_type)")
    with pytest.raises(
        CatalogError, match=r"idx_entities_tenant ON public.graph_entities USING btree \(entity_type\)"
    ):
        take(walker.connection, _build_index(walker), notify=lambda _: None)
    index = walker.live().table("graph_entities").index("idx_entities_tenant")
    assert index is not None
    assert index.columns == ("entity_type",)


def test_an_online_step_tells_while_it_waits_whom_it_waits_for(walker: Walker, other: Connection) -> None:
    _until_indexes(walker)
    step = _build_index(walker)
    told: list[str] = []
    other.execute("BEGIN")
    other.execute("LOCK TABLE graph_entities IN ROW EXCLUSIVE MODE")

    def notify(line: str) -> None:
        told.append(line)
        other.execute("COMMIT")

    take(walker.connection, step, notify=notify)
    assert step.done(walker.live())
    assert len(told) == 1
    assert (
        f"waits for pid {other.info.backend_pid} (postgres, tenantry somebody, idle in transaction" in told[0]
    )


def test_what_the_server_refuses_is_told_with_its_reason(walker: Walker) -> None:
    _until_indexes(walker)
    walker.connection.execute("CREATE TABLE twice AS SELECT 1 AS id UNION ALL SELECT 1")
    statement = psycopg.sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY ON {}(id)").format(
        psycopg.sql.Identifier("twice")
    )
    step = Step("twice: a key", statement, "SHARE UPDATE EXCLUSIVE", lambda _: False, How.ONLINE)
    with pytest.raises(CatalogError, match=r"twice: a key: .*Key \(id\)=\(1\) is duplicated"):
        take(walker.connection, step, notify=lambda _: None)


def _until_indexes(walker: Walker) -> None:
    walker.there(columns.STAGE)
    walker.connection.execute(FILL_SAMPLE)


def _leave_invalid(walker: Walker, other: Connection, step: Step) -> None:
    """Cancel the building of an index while it waits: what a killed run leaves."""
    pid = walker.connection.info.backend_pid

    def build() -> None:
        with pytest.raises(errors.QueryCanceled):
            walker.connection.execute(step.statement)

    with other.transaction():
        other.execute("LOCK TABLE graph_entities IN ROW EXCLUSIVE MODE")
        thread = threading.Thread(target=build)
        thread.start()
        waits = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
        until(lambda: other.execute(waits, [pid]).fetchall(), 20, "the index to wait")
        other.execute("SELECT pg_cancel_backend(%s)", [pid])
        thread.join()
    left = walker.live().table("graph_entities").index("idx_entities_tenant")
    assert left is not None
    assert not left.valid
