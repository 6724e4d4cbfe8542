"""Taking a lock: who is in the way is named, nobody waits long for us, and half-made things are cleared."""

import re
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors
from tenacity import RetryCallState, Retrying

from control.embedded.postgres import EmbeddedPostgres
from control.locks import BACK_OFF, Rules, take
from control.plan.model import Plan
from control.stage import How, Step
from control.stages import columns, indexes, keys
from sql.errors import CancelledError, CatalogError, LockNotGotError, StatementTooSlowError
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
    assert re.search(r"idle in transaction for \d+\.\d s", raised.value.blockers)
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


def test_while_the_gentle_lock_is_waited_for_readers_go_on(
    walker: Walker, other: Connection, sample: str
) -> None:
    """An autovacuum stands in its way as this session does, and is cancelled by it."""
    with connect(sample, "reader", lock_timeout_ms=1) as reader, other.transaction():
        other.execute("LOCK TABLE graph_entities IN SHARE UPDATE EXCLUSIVE MODE")
        taking = threading.Thread(target=_try_once, args=(walker.connection, _add_column(walker)))
        taking.start()
        waits = "SELECT mode FROM pg_locks WHERE pid = %s AND NOT granted"
        mode = until(
            lambda: other.execute(waits, [walker.connection.info.backend_pid]).fetchone(), "it to wait"
        )
        reader.execute("SELECT FROM graph_entities LIMIT 1")
        taking.join()
    assert mode == ("ShareUpdateExclusiveLock",)


def test_an_autovacuum_at_work_is_cancelled_and_the_lock_got_at_the_first_attempt(
    walker: Walker, other: Connection
) -> None:
    told: list[str] = []
    at_work = "SELECT FROM pg_stat_progress_vacuum WHERE relid = 'graph_entities'::regclass"
    other.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    try:
        other.execute(
            "ALTER TABLE graph_entities SET (autovacuum_vacuum_threshold = 1, "
            "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, "
            "autovacuum_vacuum_cost_limit = 1)"
        )
        other.execute("UPDATE graph_entities SET entity_type = entity_type")
        other.execute("SELECT pg_reload_conf()")
        until(lambda: other.execute(at_work).rowcount, "an autovacuum of the table")
        take(walker.connection, _add_column(walker), notify=told.append, attempts=1)
    finally:
        other.execute("ALTER SYSTEM RESET autovacuum_naptime")
        other.execute("SELECT pg_reload_conf()")
    assert told == []


def test_an_attempt_is_bounded_as_a_whole_however_long_its_statement_would_take(walker: Walker) -> None:
    step = Step(
        "sleep",
        psycopg.sql.Composed([psycopg.sql.SQL("SELECT pg_sleep(3600)")]),
        "ACCESS EXCLUSIVE",
        lambda _: False,
        tables=(psycopg.sql.Identifier("graph_entities"),),
    )
    with pytest.raises(StatementTooSlowError, match="sleep: it had its lock, and took more than 500 ms"):
        take(walker.connection, step, notify=lambda _: None, attempts=1)


def test_each_attempt_waits_longer_for_its_lock(walker: Walker, other: Connection) -> None:
    """What a sequence was set to outlives the transaction that set it."""
    other.execute("CREATE SEQUENCE seen; CREATE TABLE asked ()")
    statement = psycopg.sql.SQL(
        "DO $$ BEGIN PERFORM setval('seen', replace(current_setting('lock_timeout'), 'ms', '')::int); "
        "RAISE EXCEPTION USING ERRCODE = 'lock_not_available'; END $$"
    )
    step = Step(
        "ask",
        psycopg.sql.Composed([statement]),
        "ACCESS EXCLUSIVE",
        lambda _: False,
        tables=(psycopg.sql.Identifier("asked"),),
    )
    waited: list[int] = []

    def look(_line: str) -> None:
        row = other.execute("SELECT last_value FROM seen").fetchone()
        assert row is not None
        waited.append(row[0])

    with pytest.raises(LockNotGotError):
        take(walker.connection, step, notify=look, attempts=3)
    look("the last")
    assert waited == [50, 100, 200]


def test_attempts_follow_each_other_after_one_second_doubling_to_sixty() -> None:
    state = RetryCallState(Retrying(), None, (), {})
    for number, least in enumerate([1, 2, 4, 8, 16, 32, 60, 60], start=1):
        state.attempt_number = number
        assert least <= BACK_OFF(state) <= min(60, least + 1)


def test_a_run_that_may_not_go_on_ends_between_two_attempts(walker: Walker, other: Connection) -> None:
    asked: list[int] = []

    def go_on() -> None:
        asked.append(1)
        # Before the attempt, after it, and then while it rests.
        if len(asked) > 2:
            raise CancelledError("sample", "columns")

    told: list[str] = []
    with other.transaction():
        other.execute("SELECT FROM graph_entities LIMIT 1")
        with pytest.raises(CancelledError):
            take(walker.connection, _add_column(walker), notify=told.append, rules=Rules(go_on=go_on))
    assert len(told) == 1, "in the back-off after the first attempt"


def test_an_attempt_that_a_cancel_cut_short_is_not_told_as_a_lock_missed(
    walker: Walker, other: Connection
) -> None:
    asked: list[int] = []

    def go_on() -> None:
        asked.append(1)
        if len(asked) > 1:
            raise CancelledError("sample", "columns")

    told: list[str] = []
    with other.transaction():
        other.execute("SELECT FROM graph_entities LIMIT 1")
        with pytest.raises(CancelledError):
            take(walker.connection, _add_column(walker), notify=told.append, rules=Rules(go_on=go_on))
    assert told == []


def test_every_step_that_takes_long_is_an_unbounded_one(walker: Walker) -> None:
    """CONCURRENTLY and VALIDATE under a time limit die on any old transaction."""
    steps = [
        step
        for stage in (columns.STAGE, indexes.STAGE, keys.STAGE)
        for walk in (stage.steps, stage.undo)
        for step in walk(walker.plan, walker.original)
    ]
    text = {step.statement.as_string(): step.how for step in steps}
    long = {
        how
        for statement, how in text.items()
        if " CONCURRENTLY " in statement or "VALIDATE CONSTR" in statement
    }
    assert long == {How.ONLINE}


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
    assert seen == [("brief", "50ms", "500ms"), ("online", "0", "0")]
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


def _try_once(connection: Connection, step: Step) -> None:
    with pytest.raises(LockNotGotError):
        take(connection, step, notify=lambda _: None, attempts=1)


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
        until(lambda: other.execute(waits, [pid]).fetchall(), "the index to wait")
        other.execute("SELECT pg_cancel_backend(%s)", [pid])
        thread.join()
    left = walker.live().table("graph_entities").index("idx_entities_tenant")
    assert left is not None
    assert not left.valid
