"""The demo's application as a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo
from psycopg.errors import DeadlockDetected
from pydantic import SecretStr

from control.demo import journal
from control.demo.application_process import ApplicationEndedError, ApplicationProcess
from control.demo.messages import Code, Report, Settings
from tests.conftest import SAMPLE_ENTITIES
from tests.integration import two_codes
from tests.waiting import until


def settings(sample: str, folder: Path, *, connections: int = 4, rate: float = 400) -> Settings:
    url = conninfo.make_conninfo(sample, user="graph_app")
    return Settings(
        url=SecretStr(url), folder=folder, entities=SAMPLE_ENTITIES, connections=connections, rate=rate
    )


def work(application: ApplicationProcess, operations: int) -> Report:
    """Wait until the application has done so many operations more."""

    until(lambda: application.latest is not None, "the first report")
    first = application.latest
    assert first is not None

    def more() -> bool:
        assert application.latest is not None
        return application.latest.operations >= first.operations + operations

    until(more, f"{operations} operations more")
    assert application.latest is not None
    return application.latest


def sessions(connection: psycopg.Connection) -> list[int]:
    """The backends of the application's connections."""
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE usename = 'graph_app' AND datname = current_database()"
    ).fetchall()
    return sorted(pid for (pid,) in rows)


def judge(
    connection: psycopg.Connection, folder: Path, tenant_column: str | None = None
) -> list[journal.Check]:
    """What the journal's check finds wrong."""
    result = journal.check(connection, folder, entities=SAMPLE_ENTITIES, tenant_column=tenant_column)
    assert result.acknowledged > 0
    return [check for check in result.checks if not check.ok]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_old_code_works_on_four_connections_without_an_error_and_keeps_what_it_was_promised(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    with ApplicationProcess(settings(sample, tmp_path)) as application:
        assert len(sessions(connection)) == 4
        work(application, 300)
        final = application.stop()
    assert (final.errors, final.last_error) == (0, None)
    assert {kind for kind, times in final.by_kind.items() if times} == {
        "read_entity",
        "read_neighbours",
        "insert_entity",
        "insert_relation",
        "upsert_new",
        "upsert_existing",
        "upsert_shared",
        "update_entity",
        "delete_entity",
    }
    assert judge(connection, tmp_path) == []


def test_once_a_switch_is_acknowledged_no_statement_of_the_former_code_comes(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    two_codes.add_tenants(connection)
    with ApplicationProcess(settings(sample, tmp_path)) as application:
        work(application, 200)
        application.switch("new")
        two_codes.drop_guard(connection)
        work(application, 200)
        two_codes.add_guard(connection)
        application.switch("old")
        # CASCADE takes the guard's triggers along at the same moment: the old code runs without a gap.
        # Children first: their guard reads the parent's column.
        two_codes.patiently(connection, "ALTER TABLE graph_relations DROP COLUMN tenant_id CASCADE")
        two_codes.patiently(connection, "ALTER TABLE graph_entities DROP COLUMN tenant_id CASCADE")
        work(application, 200)
        final = application.stop()
    assert (final.errors, final.last_error) == (0, None)
    assert judge(connection, tmp_path) == []


@pytest.mark.parametrize("code", ["old", "new"])
def test_an_upsert_that_meets_the_two_key_window_is_retried_once_and_is_no_error(
    sample: str, connection: psycopg.Connection, tmp_path: Path, code: Code
) -> None:
    two_codes.add_tenants(connection)
    # Every first try of a shared upsert fails as if another's row had just come into the other unique index.
    connection.execute(
        """
        CREATE SEQUENCE tries;
        GRANT USAGE ON tries TO graph_app;
        CREATE FUNCTION meet() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('tries') % 2 = 1 THEN
            RAISE unique_violation USING MESSAGE = 'the other unique key';
          END IF;
          RETURN NEW;
        END $$;
        CREATE TRIGGER meet BEFORE INSERT ON graph_entities
          FOR EACH ROW WHEN (NEW.id LIKE 'shared-%') EXECUTE FUNCTION meet();
        """
    )
    with ApplicationProcess(settings(sample, tmp_path, connections=1)) as application:
        application.switch(code)
        work(application, 300)
        final = application.stop()
    assert (final.errors, final.last_error) == (0, None)
    assert final.two_key_retries == final.by_kind["upsert_shared"] > 0
    assert judge(connection, tmp_path, "tenant_id") == []


def test_a_unique_violation_of_a_plain_insert_is_an_error(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    connection.execute("CREATE UNIQUE INDEX ON graph_relations (length(id)) WHERE id LIKE 'live-%'")
    with ApplicationProcess(settings(sample, tmp_path)) as application:
        work(application, 300)
        final = application.stop()
    assert final.by_sqlstate == {"23505": final.errors}
    assert final.two_key_retries == 0
    assert judge(connection, tmp_path) == []


def test_lost_connections_are_errors_the_application_survives_and_its_journal_still_holds(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    with ApplicationProcess(settings(sample, tmp_path)) as application:
        for _ in range(5):
            work(application, 100)
            before = sessions(connection)
            for pid in before:
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
            until(lambda: len(set(sessions(connection)) - set(before)) == 4, "four new connections")  # noqa: B023
        work(application, 100)
        final = application.stop()
    assert final.errors >= 5 * 4
    assert judge(connection, tmp_path) == []


def test_a_row_that_is_hidden_or_lost_is_an_error_the_application_sees(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    def lost() -> bool:
        # It deletes in another order than the application writes, and may be the victim of a deadlock.
        try:
            connection.execute("DELETE FROM graph_entities")
        except DeadlockDetected:
            return False
        return True

    with ApplicationProcess(settings(sample, tmp_path)) as application:
        until(lost, "every entity deleted")
        final = work(application, 300)
    assert final.by_sqlstate["02000"] > 0


def test_a_server_that_refuses_is_told_when_the_application_starts(sample: str, tmp_path: Path) -> None:
    refused = settings(conninfo.make_conninfo(sample, dbname="not_there"), tmp_path)
    with pytest.raises(ApplicationEndedError, match="not_there"):
        ApplicationProcess(refused)


def test_leaving_the_block_ends_the_process(sample: str, tmp_path: Path) -> None:
    with ApplicationProcess(settings(sample, tmp_path)) as application:
        assert is_running(application.pid)
    assert not is_running(application.pid)


def test_the_application_ends_when_its_parent_is_killed(sample: str, tmp_path: Path) -> None:
    start = (
        "import sys, time\n"
        "from control.demo.application_process import ApplicationProcess\n"
        "from control.demo.messages import Settings\n"
        "print(ApplicationProcess(Settings.model_validate_json(sys.stdin.readline())).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(settings(sample, tmp_path).model_dump_json().encode() + b"\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not is_running(child), "the application to end")
