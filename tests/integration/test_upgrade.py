"""A ledger that an earlier program made is upgraded in place, and one of a later program is left alone."""

import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from sql.errors import LedgerHeldError, LedgerVersionError
from sql.postgres.connection import Connection, connect
from tests.integration.older import ARMED, killed_after, made_older, statements
from tests.integration.operating import Operator, complaint
from tests.integration.stationed import grounded, planned, station_of, working
from tests.integration.typist import typed
from tests.waiting import until
from worker import ledger, version

#: Statements of an upgrade from version 1 to 2, the looks among them.
_STATEMENTS = 6
_VERSIONS = "SELECT array_agg(version ORDER BY version) FROM tenantry.version"
_WITHOUT_TENANT = (
    "SELECT count(*)::int FROM (SELECT tenant_id FROM graph_entities UNION ALL "
    "SELECT tenant_id FROM graph_relations) AS r WHERE coalesce(tenant_id, '') = ''"
)
#: Whether a worker, a session other than this one, has asked last which version the ledger has.
_LOOKED = (
    "SELECT FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND query LIKE '/* tenantry upgrade.found%'"
)
_FILLED = "SELECT count(*) FROM graph_entities WHERE tenant_id <> ''"

#: Every command that reads or writes a ledger, as an operator types it.
_COMMANDS = (
    ("check",),
    ("plan",),
    ("run",),
    ("confirm", "application"),
    ("status",),
    ("status", "--watch"),
    ("status", "--json"),
    ("pause",),
    ("resume",),
    ("cancel",),
    ("tune",),
    ("tune", "workers=3"),
    ("verify",),
    ("report",),
    ("rollback", "--yes"),
    ("quarantine",),
    ("retry",),
    ("events",),
    ("worker",),
    ("exporter", "--port", "1"),
    ("tenants", "list"),
    ("tenants", "enable", "org-1"),
    ("tenants", "disable", "org-1"),
    ("tenants", "assign", "org-1", "--where", "true", "--yes"),
)


@pytest.fixture
def session(database: str) -> Iterator[Connection]:
    """A session in an empty database."""
    with connect(database, "test") as opened:
        yield opened


def _ledger(server: EmbeddedPostgres, url: str) -> str:
    return server.run("pg_dump", "--schema-only", "--schema=tenantry", "--restrict-key=x", url).stdout


def _half_way(operator: Operator) -> None:
    """A run that was killed in the middle of its backfill, and its ledger made an older one."""
    with operator.started("run", "--workers", "1") as run:
        done = "SELECT count(*)::int FROM tenantry.batches WHERE state = 'done'"
        until(lambda: _asked(operator, done), "a batch that is done")
        run.send_signal(signal.SIGKILL)
        run.wait()
    gone = "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE application_name LIKE 'tenantry%'"
    until(lambda: operator.count(gone), "the end of the run and of its workers")
    made_older(operator.url)


def _asked(operator: Operator, query: str) -> int:
    try:
        return operator.count(query)
    except psycopg.errors.UndefinedTable:
        return 0


@pytest.fixture
def half_way(operator: Operator) -> Operator:
    """An operator whose run is half way in a ledger of version 1."""
    slow = "[governor]\nrows_per_second = 1000\n\n[backfill]\nfirst_batch = 100\n\n"
    operator.edit("[tenant]", f"{slow}[tenant]")
    _half_way(operator)
    assert operator.count(_WITHOUT_TENANT) > 0
    operator.edit("rows_per_second = 1000\n", "")
    return operator


def test_an_upgraded_ledger_is_as_a_fresh_one(
    session: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    version.create(session)
    fresh = _ledger(postgres, database)
    session.execute("DROP SCHEMA tenantry CASCADE")
    session.execute(statements("postgres").encode())
    assert version.of(session) == 1
    version.upgrade(session)
    assert _ledger(postgres, database) == fresh
    assert version.of(session) == version.VERSION
    version.upgrade(session)
    assert session.execute(_VERSIONS).fetchone() == ([2],)


def test_a_migration_half_way_in_an_older_ledger_goes_on_to_its_end(half_way: Operator) -> None:
    assert half_way.tenantry("run", "--workers", "1").returncode == 3
    assert half_way.count(_WITHOUT_TENANT) == 0
    half_way.done("confirm", "application")
    half_way.done("run", "--workers", "1")
    assert "upgrade  the ledger, from version 1 to 2" in half_way.done("events")
    with psycopg.connect(half_way.url) as looker:
        assert looker.execute("SELECT state FROM tenantry.migrations").fetchall() == [("complete",)]
        assert looker.execute("SELECT version FROM tenantry.version").fetchall() == [(2,)]
    half_way.done("rollback", "--yes")


def test_a_program_killed_within_an_upgrade_leaves_the_older_ledger(half_way: Operator) -> None:
    before = _ledger(half_way.server, half_way.url)
    for number in range(1, _STATEMENTS + 1):
        environment = half_way.environment | killed_after(number)
        ended = typed(
            ("run", "--to", "columns"), folder=half_way.folder, environment=environment, first=ARMED
        )
        assert ended.returncode == -signal.SIGKILL, number
        assert _ledger(half_way.server, half_way.url) == before, number
    half_way.done("rollback", "--yes")
    assert half_way.count("SELECT count(*)::int FROM pg_namespace WHERE nspname = 'tenantry'") == 0


def test_an_older_ledger_is_told_of_by_who_may_not_upgrade_it(half_way: Operator) -> None:
    before = _ledger(half_way.server, half_way.url)
    for command in ("status", "events", "tune", "pause", "check"):
        ended = half_way.tenantry(command)
        assert ended.returncode == 2, ended.stderr
        assert "the ledger is of version 1, and this program's is 2: `tenantry run`" in complaint(
            ended.stderr
        )
    assert _ledger(half_way.server, half_way.url) == before


def test_two_programs_at_once_upgrade_once(session: Connection, database: str) -> None:
    session.execute(statements("postgres").encode())
    waiting = (
        "SELECT count(*) = 2 FROM pg_stat_activity WHERE application_name = 'tenantry upgrader' "
        "AND datname = current_database() AND wait_event_type = 'Lock'"
    )

    def upgrade() -> None:
        with connect(database, "upgrader") as own:
            version.upgrade(own)

    programs = [threading.Thread(target=upgrade) for _ in range(2)]
    with connect(database, "reader") as reader:
        with reader.transaction():
            reader.execute("SELECT FROM tenantry.events")
            for program in programs:
                program.start()
            until(lambda: session.execute(waiting).fetchone() == (True,), "both to wait", within=4)
        for program in programs:
            program.join()
    assert session.execute(_VERSIONS).fetchone() == ([2],)


def test_an_upgrade_that_somebody_is_in_the_way_of_changes_nothing(
    session: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    session.execute(statements("postgres").encode())
    before = _ledger(postgres, database)
    with connect(database, "reader") as reader, reader.transaction():
        reader.execute("SELECT FROM tenantry.events")
        with pytest.raises(LedgerHeldError, match="a transaction left open"):
            version.upgrade(session)
    assert _ledger(postgres, database) == before


def test_who_could_read_and_write_the_older_ledger_can_do_so_with_what_is_new(session: Connection) -> None:
    session.execute(statements("postgres").encode())
    session.execute('CREATE ROLE "odd \'worker"')
    try:
        session.execute('GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA tenantry TO "odd \'worker"')
        session.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO PUBLIC")
        version.upgrade(session)
        rights = session.execute(
            "SELECT relname, string_agg(privilege, ' ' ORDER BY privilege) FROM pg_class, "
            "unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS privilege WHERE relnamespace = "
            "'tenantry'::regnamespace AND relname IN ('version', 'paces', 'holds') "
            "AND has_table_privilege('odd ''worker', pg_class.oid, privilege) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        everything = "DELETE INSERT SELECT UPDATE"
        assert rights == [("holds", everything), ("paces", everything), ("version", "SELECT")]
    finally:
        session.execute('DROP OWNED BY "odd \'worker"; DROP ROLE "odd \'worker"')


def test_a_worker_waits_for_an_older_ledger_to_be_upgraded(sample: str, valkey: EmbeddedValkey) -> None:
    with grounded(sample, valkey) as (ground, session):
        batches = planned(ground, session)
        made_older(sample)
        with station_of(sample, valkey, "test", "older") as station, working(station, batches) as thread:
            until(lambda: session.execute(_LOOKED).rowcount, "its look")
            assert session.execute(_FILLED).fetchone() == (0,)
            version.upgrade(session)
            thread.join(60)
        assert session.execute(_FILLED).fetchone() == (2_000,)


def test_a_worker_that_waits_for_a_ledger_to_be_upgraded_does_nothing_more_once_it_is_told_to_stop(
    sample: str, valkey: EmbeddedValkey
) -> None:
    with grounded(sample, valkey) as (ground, session):
        batches = planned(ground, session)
        made_older(sample)
        with station_of(sample, valkey, "test", "stopped") as station, working(station, batches) as thread:
            until(lambda: session.execute(_LOOKED).rowcount, "its look")
            station.stopping.set()
            thread.join(60)
            assert not thread.is_alive()
        assert session.execute(_FILLED).fetchone() == (0,)


def test_a_ledger_of_a_later_program_is_refused_by_every_command(operator: Operator) -> None:
    operator.run_to("preflight")
    operator.edit("[tenant]", f'[redis]\nurl = "{operator.queue}"\n\n[tenant]')
    with connect(operator.url, "test") as session:
        session.execute("INSERT INTO tenantry.version (version, program) VALUES (3, 'later')")
        with pytest.raises(LedgerVersionError) as raised:
            ledger.exists(session)
        assert (raised.value.found, raised.value.known) == (3, 2)
    before = operator.schema(), _contents(operator.url)
    for command in _COMMANDS:
        ended = operator.tenantry(*command)
        assert ended.returncode == 2, (command, ended.stderr)
        assert "the ledger is of version 3, and this program's is 2" in complaint(ended.stderr), command
    assert (operator.schema(), _contents(operator.url)) == before


def _contents(url: str) -> list[object]:
    with psycopg.connect(url) as session:
        return [
            session.execute(f"SELECT * FROM tenantry.{table} ORDER BY 1".encode()).fetchall()
            for table in ("migrations", "stages", "events", "version")
        ]
