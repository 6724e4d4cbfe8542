"""What a signal lacks to be read takes no other signal with it, and is never read as health."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from sql.postgres.connection import connect
from tests.integration.governed import at_work, settings_of
from tests.servers import start_postgres
from tests.waiting import until
from worker import version
from worker.governor.limits import Sample, SignalName
from worker.governor.signals import look
from worker.ledger import Settings

SETTINGS = settings_of("waiting", 1)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that fails to archive, and gives slots up soon; with a ledger that `plain` may read."""
    settings = {
        "fsync": "off",
        "shared_buffers": "32MB",
        "archive_mode": "on",
        "archive_command": "false",
        "idle_replication_slot_timeout": "1s",
        "wal_level": "logical",
        "checkpoint_timeout": "1h",
    }
    with start_postgres(settings=settings) as started:
        with connect(started.url(), "test") as operator:
            version.create(operator)
            operator.execute("CREATE ROLE plain LOGIN")
            operator.execute("GRANT USAGE ON SCHEMA tenantry TO plain")
            operator.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO plain")
        yield started


@pytest.fixture
def operator(server: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    """A session of the superuser."""
    with psycopg.connect(server.url(), autocommit=True, application_name="operator") as session:
        yield session


def _sample(server: EmbeddedPostgres, settings: Settings = SETTINGS, user: str = "plain") -> Sample:
    with connect(server.url(user=user), "worker test") as session:
        return look(session, settings).sample


def _asked(server: EmbeddedPostgres, query: str) -> Sample:
    return _sample(server, SETTINGS.model_copy(update={"query": query}), "postgres")


def test_a_plain_role_is_told_what_to_be_granted_and_reads_the_other_signals(
    server: EmbeddedPostgres, operator: psycopg.Connection
) -> None:
    operator.execute("SELECT pg_create_physical_replication_slot('held', true)")
    try:
        sample = _sample(server)
    finally:
        operator.execute("SELECT pg_drop_replication_slot('held')")
    assert sample.unreadable == {
        "transaction": "GRANT pg_read_all_stats TO plain",
        "snapshot": "GRANT pg_read_all_stats TO plain",
        "vacuums": "GRANT pg_read_all_stats TO plain",
        "archive_files": "GRANT pg_monitor TO plain",
    }
    assert set(sample.values) == {"waiting", "waited", "slot_bytes", "archive_failing", "connections"}
    assert sample.values["connections"] >= 2 / 97


@pytest.mark.parametrize(
    ("right", "left"), [("pg_read_all_stats", {"archive_files"}), ("pg_monitor", set[SignalName]())]
)
def test_what_is_granted_is_read(
    server: EmbeddedPostgres, operator: psycopg.Connection, right: str, left: set[SignalName]
) -> None:
    operator.execute(f"GRANT {right} TO plain".encode())
    try:
        sample = _sample(server)
    finally:
        operator.execute(f"REVOKE {right} FROM plain".encode())
    assert set(sample.unreadable) == left
    assert {"transaction", "snapshot", "vacuums"} <= set(sample.values)


def test_a_plain_role_sees_who_waits_behind_it(
    server: EmbeddedPostgres, operator: psycopg.Connection
) -> None:
    with connect(server.url(user="plain"), "worker at work") as ours:
        ours.execute("SELECT pg_advisory_lock(1)")
        with at_work(server.url(), "SELECT pg_advisory_lock(1)"):
            waits = "SELECT FROM pg_locks WHERE NOT granted AND waitstart IS NOT NULL"
            until(lambda: operator.execute(waits.encode()).rowcount, "the application to wait")
            sample = _sample(server)
    assert sample.values["waiting"] == 1
    assert sample.values["waited"] > 0
    assert sample.details["waiting"].endswith(", work")


def test_without_the_right_to_list_it_an_archive_that_fails_does_so_since_its_last_success(
    server: EmbeddedPostgres, operator: psycopg.Connection
) -> None:
    operator.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
    failed = "SELECT FROM pg_stat_archiver WHERE failed_count > 0"
    until(lambda: operator.execute(failed.encode()).rowcount, "archiving to fail")
    assert _sample(server).values["archive_failing"] > 0
    assert _sample(server).details["archive_failing"].startswith("0000000")


def test_a_lost_slot_holds_nothing(server: EmbeddedPostgres, operator: psycopg.Connection) -> None:
    operator.execute("SELECT pg_create_physical_replication_slot('lost', true)")
    try:
        for _ in range(3):
            operator.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
        assert _sample(server).values["slot_bytes"] > 16_000_000

        def lost() -> int:
            operator.execute("CHECKPOINT")
            # It goes on telling where it stood.
            return operator.execute(
                "SELECT FROM pg_replication_slots WHERE wal_status = 'lost' AND restart_lsn IS NOT NULL"
            ).rowcount

        until(lost, "the slot to be lost")
        assert "slot_bytes" not in _sample(server).values
    finally:
        operator.execute("SELECT pg_drop_replication_slot('lost')")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT NULL::integer", "it gives NULL instead of a number"),
        ("SELECT 'many'", "it gives a text instead of a number"),
        ("SELECT 'NaN'::float8", "it gives infinity or NaN instead of a number"),
        ("SELECT 1 WHERE false", "it gives something else than one row with one number"),
        ("SELECT generate_series(1, 3)", "it gives something else than one row with one number"),
        ("SELECT 1 / 0", "it ends in DivisionByZero"),
        ("SELECT pg_sleep(30)", "canceling statement due to statement timeout"),
        ("SELECT nothing", 'column "nothing" does not exist'),
        ("SELECT nextval('counter')", "it ends in ReadOnlySqlTransaction"),
        ("SELECT write()", "it ends in ReadOnlySqlTransaction"),
        (
            "SELECT set_config('transaction_read_only', 'off', true)",
            "it ends in ActiveSqlTransaction",
        ),
        ("SELECT 1; INSERT INTO written VALUES (1)", "cannot insert multiple commands"),
        ("COMMIT", "syntax error"),
        ("COPY written TO STDOUT", "syntax error"),
    ],
)
def test_a_query_that_gives_no_number_is_unreadable_and_writes_nothing(
    server: EmbeddedPostgres, operator: psycopg.Connection, query: str, says: str
) -> None:
    operator.execute("CREATE TABLE written (n integer)")
    operator.execute("CREATE SEQUENCE counter")
    operator.execute(
        "CREATE FUNCTION write() RETURNS integer LANGUAGE sql AS 'INSERT INTO written VALUES (1) RETURNING 1'"
    )
    try:
        sample = _asked(server, query)
        assert operator.execute("SELECT FROM written").rowcount == 0
    finally:
        operator.execute("DROP FUNCTION write; DROP TABLE written; DROP SEQUENCE counter")
    assert sample.unreadable["query"].startswith(says)
    assert {"waiting", "snapshot", "connections"} <= set(sample.values)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("SELECT 3.5", 3.5),
        ("SELECT count(*) FROM pg_class WHERE 7 % 4 = 0;", 0),
        ("SELECT '{4}'::integer[] @> '{4}' OR 1 = 2 -- so", None),
        ("SELECT cardinality('{4, 5}'::integer[]) -- so", 2),
    ],
)
def test_the_query_is_the_operators_text_as_it_stands(
    server: EmbeddedPostgres, query: str, number: float | None
) -> None:
    assert _asked(server, query).values.get("query") == number


def test_a_session_is_as_it_was_after_the_query(server: EmbeddedPostgres) -> None:
    settings = SETTINGS.model_copy(update={"query": "SELECT 1"})
    with connect(server.url(), "worker test", statement_timeout_ms=800) as session:
        look(session, settings)
        row = session.execute(
            "SELECT current_setting('statement_timeout'), current_setting('transaction_read_only')"
        ).fetchone()
    assert row == ("800ms", "off")


@pytest.fixture
def subscriber(server: EmbeddedPostgres, operator: psycopg.Connection) -> Iterator[str]:
    """The slot of a logical subscriber that streams."""
    operator.execute("CREATE PUBLICATION nothing")
    operator.execute("SELECT pg_create_logical_replication_slot('subscriber', 'pgoutput')")
    operator.execute("CREATE DATABASE subscriber")
    with psycopg.connect(server.url("subscriber"), autocommit=True) as session:
        session.execute(
            f"CREATE SUBSCRIPTION subscriber CONNECTION 'host={server.folder} dbname=postgres user=postgres' "
            "PUBLICATION nothing WITH (create_slot = false, copy_data = false)".encode()
        )
        yield "subscriber"
        session.execute("DROP SUBSCRIPTION subscriber")  # and its slot
    operator.execute("DROP PUBLICATION nothing")
    operator.execute("DROP DATABASE subscriber WITH (FORCE)")


def test_a_logical_subscriber_is_no_standby_and_its_slot_counts(
    server: EmbeddedPostgres, operator: psycopg.Connection, subscriber: str
) -> None:
    streams = "SELECT FROM pg_stat_replication WHERE replay_lsn IS NOT NULL"
    until(lambda: operator.execute(streams.encode()).rowcount, "the subscriber to stream")
    with connect(server.url(), "worker test") as session:
        seen = look(session, SETTINGS)
    assert seen.standbys == ()
    assert seen.sample.details["slot_bytes"] == subscriber


def test_a_program_that_only_receives_wal_is_no_standby(
    server: EmbeddedPostgres, operator: psycopg.Connection, tmp_path: Path
) -> None:
    # -s: it tells where it stands every second.
    login = f"host={server.folder} user=postgres"
    command: list[str | Path] = [
        server.bin / "pg_receivewal",
        "-d",
        login,
        "-D",
        tmp_path,
        "-s",
        "1",
        "--no-loop",
    ]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as receiving:
        try:
            streams = "SELECT FROM pg_stat_replication WHERE write_lsn IS NOT NULL"
            until(lambda: operator.execute(streams.encode()).rowcount, "it to stream")
            with connect(server.url(), "worker test") as session:
                assert look(session, SETTINGS).standbys == ()
        finally:
            receiving.terminate()
