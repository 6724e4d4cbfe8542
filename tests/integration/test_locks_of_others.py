"""Sessions in the way of a strong lock: none is ended unless the plan says so; standbys."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from control import standbys
from control.embedded.postgres import EmbeddedPostgres
from control.locks import Rules, take
from control.plan.model import Plan
from control.stage import Step
from control.stages import columns
from sql.errors import LockNotGotError
from sql.postgres.connection import connect
from tests.integration.operating import Operator
from tests.integration.standby import Standby, standby
from tests.integration.walking import SAMPLE, Walker
from tests.waiting import until


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start of the sample."""
    with connect(sample, "test") as connection:
        yield Walker(connection, Plan.model_validate(SAMPLE), postgres)


@pytest.fixture(scope="module")
def replica(postgres: EmbeddedPostgres) -> Iterator[Standby]:
    """A standby of the server."""
    with standby(postgres, "replica") as made:
        yield made


def _add_column(walker: Walker) -> Step:
    return next(iter(columns.STAGE.steps(walker.plan, walker.original)))


@contextmanager
def _somebody(url: str) -> Iterator[psycopg.Connection]:
    """A session of the application, in a transaction that has read the table."""
    connection = psycopg.connect(url, application_name="shop")
    connection.execute("SELECT FROM graph_entities LIMIT 1")
    try:
        yield connection
    finally:
        connection.close()


def _alive(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def test_without_a_word_nobody_is_ended(walker: Walker, sample: str) -> None:
    with _somebody(sample) as shop:
        with pytest.raises(LockNotGotError):
            take(walker.connection, _add_column(walker), notify=lambda _: None, attempts=3)
        assert _alive(shop)


def test_with_it_one_that_was_named_and_is_still_in_the_way_is_ended_and_kept_in_the_audit(
    operator: Operator,
) -> None:
    with operator.plan.open("a") as plan:
        plan.write('[locks]\nterminate_after = "100ms"\n')
    with _somebody(operator.url) as shop:
        operator.run_to("columns")
        pid = shop.info.backend_pid
        assert not _alive(shop)
    events = operator.done("events")
    assert f"terminate  ended pid {pid} (postgres, shop, idle in transaction" in events
    assert "which stood in the way of" in events


def test_one_whose_transaction_is_not_that_old_is_left_alone(walker: Walker, sample: str) -> None:
    told: list[str] = []
    rules = Rules(terminate_after=3600, record=told.append)
    with _somebody(sample) as shop:
        with pytest.raises(LockNotGotError):
            take(walker.connection, _add_column(walker), notify=lambda _: None, attempts=2, rules=rules)
        assert _alive(shop)
    assert told == []


def test_one_of_ours_is_never_ended(walker: Walker, sample: str) -> None:
    with connect(sample, "worker 1@here") as ours, ours.transaction():
        ours.execute("SELECT FROM graph_entities LIMIT 1")
        with pytest.raises(LockNotGotError):
            take(
                walker.connection,
                _add_column(walker),
                notify=lambda _: None,
                attempts=2,
                rules=Rules(terminate_after=0.1),
            )
        assert _alive(ours)


def test_a_role_that_may_not_end_a_session_is_told_what_to_grant(
    walker: Walker, sample: str, postgres: EmbeddedPostgres
) -> None:
    told: list[str] = []
    owner = walker.connection
    name = owner.info.dbname
    owner.execute(
        "CREATE ROLE meek LOGIN; GRANT pg_read_all_stats TO meek; ALTER TABLE graph_entities OWNER TO meek"
    )
    try:
        with connect(postgres.url(name, "meek"), "test") as meek, _somebody(sample) as shop:
            with pytest.raises(LockNotGotError):
                take(
                    meek,
                    _add_column(walker),
                    notify=told.append,
                    attempts=2,
                    rules=Rules(terminate_after=0.1),
                )
            assert _alive(shop)
        assert "this role may not end pid" in told[-1]
        assert "GRANT pg_signal_backend to it" in told[-1]
    finally:
        owner.execute("REASSIGN OWNED BY meek TO postgres; DROP OWNED BY meek; DROP ROLE meek")


def _on(replica: Standby, walker: Walker) -> str:
    """The address of the walker's database on the standby, once it is there."""
    url = replica.url.replace("/postgres?", f"/{walker.connection.info.dbname}?")

    def there() -> bool:
        try:
            with psycopg.connect(url) as connection:
                return connection.execute("SELECT to_regclass('graph_entities')").fetchone() != (None,)
        except psycopg.OperationalError:
            return False

    until(there, "the database on the standby")
    return url


@contextmanager
def _long_reader(url: str) -> Iterator[psycopg.Connection]:
    with _somebody(url) as reader:
        old = f"SELECT clock_timestamp() - now() > interval '{standbys.LONG} s'"
        until(lambda: reader.execute(old.encode()).fetchone() == (True,), "the transaction to be old")
        yield reader


def test_a_long_reader_on_a_standby_is_in_the_way_and_named_with_its_standby(
    walker: Walker, replica: Standby
) -> None:
    url = _on(replica, walker)
    told: list[str] = []
    step = _add_column(walker)
    with _long_reader(url) as reader:
        pid = reader.info.backend_pid

        def notify(line: str) -> None:
            told.append(line)
            assert not step.done(walker.live())
            reader.rollback()

        take(walker.connection, step, notify=notify, rules=Rules(standbys=(url,)), attempts=3)
        assert _alive(reader)
    assert step.done(walker.live())
    (line,) = told
    assert f"pid {pid} (postgres, shop, idle in transaction for" in line
    assert f"on the standby PostgreSQL {walker.connection.info.dbname} at" in line


def test_a_reader_of_another_table_on_a_standby_is_not_in_the_way(walker: Walker, replica: Standby) -> None:
    url = _on(replica, walker)
    with _long_reader(url) as reader:
        reader.rollback()
        reader.execute("SELECT FROM graph_relations LIMIT 1")
        old = f"SELECT clock_timestamp() - now() > interval '{standbys.LONG} s'"
        until(lambda: reader.execute(old.encode()).fetchone() == (True,), "the transaction to be old")
        take(
            walker.connection,
            _add_column(walker),
            notify=lambda _: None,
            rules=Rules(standbys=(url,)),
            attempts=1,
        )


def test_a_lock_that_does_not_travel_asks_no_standby(walker: Walker) -> None:
    step = _add_column(walker)
    gentle = Step(
        "look",
        psycopg.sql.Composed([psycopg.sql.SQL("SELECT 1")]),
        "SHARE ROW EXCLUSIVE",
        step.done,
        tables=step.tables,
    )
    nowhere = Rules(standbys=("postgresql://postgres@127.0.0.1:1/d",))
    take(walker.connection, gentle, notify=lambda _: None, rules=nowhere, attempts=1)


def test_a_standby_that_cannot_be_reached_is_in_the_way_with_what_to_do(walker: Walker) -> None:
    step = _add_column(walker)
    nowhere = Rules(standbys=("postgresql://postgres:hunter2@127.0.0.1:1/d",))
    with pytest.raises(LockNotGotError) as raised:
        take(walker.connection, step, notify=lambda _: None, rules=nowhere, attempts=1)
    assert "the standby PostgreSQL d at 127.0.0.1:1, which can't be looked at" in raised.value.blockers
    assert "take it out of [database] standbys" in raised.value.blockers
    assert "hunter2" not in str(raised.value)
    assert not step.done(walker.live())


def test_sessions_on_a_standby_that_may_not_be_seen_are_in_the_way_with_what_to_do(
    walker: Walker, replica: Standby
) -> None:
    owner = walker.connection
    owner.execute("CREATE ROLE blind LOGIN")
    try:
        url = _on(replica, walker)
        seen_by = url.replace("postgres@", "blind@")
        until(lambda: _lets_in(seen_by), "the role on the standby")
        with _long_reader(url), pytest.raises(LockNotGotError) as raised:
            take(
                walker.connection,
                _add_column(walker),
                notify=lambda _: None,
                rules=Rules(standbys=(seen_by,)),
                attempts=1,
            )
        assert "GRANT pg_read_all_stats to this role, on the primary" in raised.value.blockers
    finally:
        owner.execute("DROP ROLE blind")


def _lets_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True
