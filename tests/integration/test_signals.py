"""Each signal of the governor: its condition made real, the hold with that reason, and its end."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.stages.backfill import jobs_of
from sql.postgres.connection import connect
from tests.integration.backfilling import plan_of, prepared
from tests.integration.governed import Watch, at_work, settings_of, watching
from tests.integration.reporting import report
from tests.servers import start_postgres
from tests.waiting import until
from worker import paging
from worker.governor import shared as shared_state
from worker.governor.limits import SignalName

_ROW = "entity-0000000007"


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that archives, vacuums nothing by itself, and has few connections."""
    settings = {
        "fsync": "off",
        "shared_buffers": "32MB",
        "autovacuum": "off",
        "archive_mode": "on",
        "max_connections": "30",
        "max_prepared_transactions": "2",
    }
    with start_postgres(settings=settings) as started:
        with psycopg.connect(started.url(), autocommit=True) as operator:
            _archive_by(operator, "true")
        yield started


@pytest.fixture(scope="module")
def database(server: EmbeddedPostgres, valkey: EmbeddedValkey) -> str:
    """The sample with batches of its entities planned, and nobody at work."""
    url = server.url()
    with psycopg.connect(url, autocommit=True) as connection:
        sample_graph.create(connection)
        sample_graph.fill(connection, entities=2_000)
    with connect(url, "test") as session:
        plan = plan_of(url)
        ground = prepared(plan, session, valkey.url)
        (job,) = jobs_of(ground, plan.table("graph_entities"), [ground.original.table("graph_entities")])
        paging.plan_group(session, job, batch_rows=100)
        assert ground.doorbell is not None
        ground.doorbell.client.close()
    return url


@pytest.fixture
def watch(database: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """A governor that samples twenty times a second."""
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.05)
    with watching(database, valkey) as watching_:
        yield watching_


def _archive_by(operator: psycopg.Connection, command: str) -> None:
    operator.execute(f"ALTER SYSTEM SET archive_command = '{command}'".encode())
    operator.execute("SELECT pg_reload_conf()")


def _write(connection: psycopg.Connection, kilobytes: int = 100) -> None:
    connection.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', %s))", [kilobytes * 1024])
    connection.commit()


def test_wal_that_a_slot_holds_stops_batches_until_the_slot_is_gone(watch: Watch) -> None:
    settings = settings_of("slot_bytes", 1_000_000)
    watch.goes(settings)
    watch.shop.execute("SELECT pg_create_physical_replication_slot('left_behind', true)")
    _write(watch.shop, 2_000)
    watch.shop.execute("CHECKPOINT")  # a slot begins at the last one
    watch.shop.execute("SELECT pg_create_physical_replication_slot('at_its_end', true)")
    assert "(left_behind, not in use)" in watch.holds("slot_bytes", settings)
    watch.shop.execute("SELECT pg_drop_replication_slot('left_behind')")
    watch.goes(settings)
    watch.shop.execute("SELECT pg_drop_replication_slot('at_its_end')")


@pytest.mark.parametrize(("signal", "stop"), [("archive_files", 2), ("archive_failing", 0.2)])
def test_an_archive_that_takes_nothing_stops_batches_until_it_does(
    watch: Watch, signal: SignalName, stop: float
) -> None:
    settings = settings_of(signal, stop)
    watch.goes(settings)
    watch.shop.autocommit = True
    _archive_by(watch.shop, "false")
    try:
        for _ in range(3):
            _write(watch.shop, 1)
            watch.shop.execute("SELECT pg_switch_wal()")
        assert "(0000000" in watch.holds(signal, settings)
    finally:
        _archive_by(watch.shop, "true")
    watch.goes(settings)


@pytest.mark.parametrize(("signal", "stop"), [("waiting", 1), ("waited", 0.2)])
def test_a_session_that_waits_behind_ours_stops_batches_until_it_has_its_lock(
    watch: Watch, signal: SignalName, stop: float
) -> None:
    settings = settings_of(signal, stop)
    watch.goes(settings)
    lock = f"SELECT FROM graph_entities WHERE id = '{_ROW}' FOR UPDATE".encode()
    with connect(watch.url, "worker at work") as ours:
        ours.execute("BEGIN")
        ours.execute(lock)
        with at_work(watch.url, lock.decode()):
            assert ", work)" in watch.holds(signal, settings)
            ours.execute("COMMIT")
            watch.goes(settings)


def test_who_waits_behind_one_that_waits_behind_ours_counts_too(watch: Watch) -> None:
    with connect(watch.url, "worker at work") as ours:
        ours.execute("BEGIN")
        ours.execute("LOCK TABLE graph_entities IN ROW EXCLUSIVE MODE")
        with (
            at_work(watch.url, "BEGIN", "LOCK TABLE graph_entities"),
            at_work(watch.url, "SELECT FROM graph_entities"),
        ):
            watch.holds("waiting", settings_of("waiting", 2))
            ours.execute("COMMIT")


def test_who_waits_behind_another_session_of_the_application_is_no_reason(watch: Watch) -> None:
    settings = settings_of("waiting", 1)
    watch.shop.execute("SELECT FROM graph_entities WHERE id = %s FOR UPDATE", [_ROW])
    with (
        at_work(watch.url, f"SELECT FROM graph_entities WHERE id = '{_ROW}' FOR UPDATE"),
        connect(watch.url, "look") as look,
    ):
        until(lambda: look.execute("SELECT FROM pg_locks WHERE NOT granted").rowcount, "a session to wait")
        assert watch.sample(settings).values["waiting"] == 0


def test_a_transaction_left_open_stops_batches_until_it_ends(watch: Watch) -> None:
    settings = settings_of("transaction", 0.3)
    watch.goes(settings)
    watch.shop.execute("SELECT 1")
    assert "shop, idle in transaction)" in watch.holds("transaction", settings)
    watch.shop.rollback()
    watch.goes(settings)


def test_a_prepared_transaction_stops_batches_until_it_ends(watch: Watch) -> None:
    settings = settings_of("transaction", 0.3)
    watch.goes(settings)
    watch.shop.execute("UPDATE graph_entities SET entity_type = entity_type WHERE id = %s", [_ROW])
    watch.shop.execute("PREPARE TRANSACTION 'left over'")
    try:
        assert "(prepared transaction left over)" in watch.holds("transaction", settings)
    finally:
        watch.shop.autocommit = True
        watch.shop.execute("ROLLBACK PREPARED 'left over'")
    watch.goes(settings)


def test_an_old_snapshot_stops_batches_until_it_ends(watch: Watch) -> None:
    settings = settings_of("snapshot", 0.3)
    watch.goes(settings)
    watch.shop.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    assert "shop, idle in transaction)" in watch.holds("snapshot", settings)
    watch.shop.rollback()
    watch.goes(settings)


def test_a_transaction_that_sees_and_holds_nothing_is_no_snapshot(watch: Watch) -> None:
    watch.shop.execute("SELECT 1")
    settings = settings_of("transaction", 0.3)
    watch.holds("transaction", settings)
    assert watch.sample(settings).values["snapshot"] == 0


@pytest.mark.parametrize("command", ["VACUUM", "ANALYZE"])
def test_a_vacuum_at_work_on_the_table_stops_batches_until_it_ends(watch: Watch, command: str) -> None:
    settings = settings_of("vacuums", 1)
    watch.goes(settings)
    watch.shop.autocommit = True
    slow = ("SET vacuum_cost_delay = '100ms'", "SET vacuum_cost_limit = 1")
    # Every page of the table, and not what is stored beside it: that counts too, and would hide the table.
    slowly = "VACUUM (DISABLE_PAGE_SKIPPING, PROCESS_TOAST false)" if command == "VACUUM" else command
    with at_work(watch.url, *slow, f"{slowly} graph_relations"):
        progress = f"SELECT FROM pg_stat_progress_{command.lower()}"
        until(lambda: watch.shop.execute(progress.encode()).rowcount, f"{command} to be at work")
        assert watch.sample(settings).values["vacuums"] == 0  # nobody fills this table
    with at_work(watch.url, *slow, f"{slowly} graph_entities"):
        assert f'{command} of "public"."graph_entities"' in watch.holds("vacuums", settings)
        # As the server does: what a VACUUM sees holds back no pruning, what an ANALYZE sees does.
        assert (watch.sample(settings).values["snapshot"] > 0) == (command == "ANALYZE")
    watch.goes(settings)


def test_dead_rows_stop_batches_until_they_are_vacuumed(watch: Watch) -> None:
    settings = settings_of("dead", 0.4)
    watch.shop.autocommit = True
    watch.shop.execute("VACUUM graph_entities")
    watch.goes(settings)
    for _ in range(2):
        watch.shop.execute("UPDATE graph_entities SET updated_at = clock_timestamp()")
    report(watch.shop)
    assert '("public"."graph_entities")' in watch.holds("dead", settings)
    watch.shop.execute("VACUUM graph_entities")
    report(watch.shop)
    watch.goes(settings)


def test_rows_forgotten_by_the_statistics_do_not_make_all_others_dead(watch: Watch) -> None:
    watch.shop.autocommit = True
    watch.shop.execute("VACUUM ANALYZE graph_entities")
    watch.shop.execute("SELECT pg_stat_reset()")
    watch.shop.execute(
        "UPDATE graph_entities SET updated_at = clock_timestamp() WHERE id < 'entity-0000000100'"
    )
    report(watch.shop)
    settings = settings_of("dead", 0.4)

    share = until(lambda: watch.sample(settings).values["dead"], "dead rows to be seen")
    assert share < 0.1


def test_a_table_that_nobody_has_counted_yet_is_not_judged_by_its_dead_rows(watch: Watch) -> None:
    watch.shop.autocommit = True
    watch.shop.execute("UPDATE pg_class SET reltuples = -1 WHERE relname = 'graph_entities'")
    assert "dead" not in watch.sample(settings_of("dead", 0.4)).values
    watch.shop.execute("ANALYZE graph_entities")
    assert "dead" in watch.sample(settings_of("dead", 0.4)).values


def test_wal_written_too_fast_stops_batches_until_it_slows_down(watch: Watch) -> None:
    settings = settings_of("wal_rate", 200_000)
    watch.goes(settings)
    watch.holds("wal_rate", settings, meanwhile=lambda: _write(watch.shop))
    watch.goes(settings)


def test_connections_near_the_maximum_stop_batches_until_they_are_closed(watch: Watch) -> None:
    settings = settings_of("connections", 0.5)
    watch.goes(settings)
    with ExitStack() as stack:
        for _ in range(14):
            stack.enter_context(psycopg.connect(watch.url))
        assert " of 27)" in watch.holds("connections", settings)
    watch.goes(settings)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT repeat('secret', 1000)", "it gives a text instead of a number"),
        ("SELECT NULL::int", "it gives NULL instead of a number"),
        ("SELECT 'NaN'::float8", "it gives infinity or NaN instead of a number"),
        ("SELECT DATE '2020-01-01'", "it gives a value of type date instead of a number"),
        ("SELECT repeat('secret', 1000)::int", "it ends in InvalidTextRepresentation"),
        ("SELECT nothing", 'column "nothing" does not exist'),
    ],
)
def test_a_query_that_gives_no_number_is_told_without_what_it_gives(
    watch: Watch, query: str, told: str
) -> None:
    sample = watch.sample(settings_of("query", 3, query=query))
    assert sample.unreadable["query"] == told


def test_the_plans_own_query_stops_batches_until_it_gives_less(watch: Watch) -> None:
    watch.shop.autocommit = True
    watch.shop.execute("CREATE TABLE orders_to_do (id integer)")
    try:
        settings = settings_of("query", 3, query="SELECT count(*) FROM orders_to_do WHERE id % 2 = 0")
        watch.goes(settings)
        watch.shop.execute("INSERT INTO orders_to_do SELECT generate_series(1, 6)")
        watch.holds("query", settings)
        watch.shop.execute("DELETE FROM orders_to_do WHERE id = 2")
        watch.goes(settings)
    finally:
        watch.shop.execute("DROP TABLE orders_to_do")
