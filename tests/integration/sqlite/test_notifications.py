"""A webhook beside the migration of a SQLite file: the same kinds, in order, by the same rules."""

import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from control.plan.writing import toml
from tests.integration.notified import SECRET, TO_THE_GATE, never
from tests.integration.operating import TENANTRY
from tests.integration.receiving import Got, Receiver, receiving
from tests.integration.sqlite.graph_plan import plan_of
from tests.integration.typist import typed
from tests.waiting import until


def _told(graph: Path, receiver: Receiver, more: str = "") -> None:
    """Write the plan, with a webhook."""
    table = f'[notify]\nurl = "{receiver.url}"\nsecret = "{SECRET}"\n{more}\n\n[[tables]]'
    (graph.parent / "migration.toml").write_text(toml(plan_of(graph)).replace("[[tables]]", table, 1))


def _typed(graph: Path, *arguments: str, status: int = 0) -> str:
    ended = typed(arguments, folder=graph.parent, environment={})
    assert ended.returncode == status, ended.stderr
    return ended.stdout + ended.stderr


@contextmanager
def _started(graph: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Type a command that goes on meanwhile; it is interrupted at the end, if it still does."""
    with subprocess.Popen(
        [TENANTRY, *arguments],
        cwd=graph.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def test_all_that_happens_arrives_once_and_in_order_and_leaves_nothing_behind(graph: Path) -> None:
    with receiving() as receiver:
        _told(graph, receiver)
        said = _typed(graph, "run", status=3)
        said += _typed(graph, "run", status=3)
        assert receiver.what == TO_THE_GATE
        said += _typed(graph, "confirm", "application")
        for _ in range(2):
            said += _typed(graph, "run")
        done = ["stage application", "stage keys", "stage verify", "finished"]
        assert receiver.what == [*TO_THE_GATE, *done]
        with closing(sqlite3.connect(graph)) as file:
            kept = "\n".join(file.iterdump()) + said + _typed(graph, "events", "--json")
        assert "PATH-SECRET" not in kept
        assert SECRET not in kept
        _typed(graph, "rollback", "--yes")
        assert receiver.what == [*TO_THE_GATE, *done, "rolled back"]
    assert len({got.id for got in receiver.got}) == len(receiver.got)
    assert not list(graph.parent.glob("*outbox*"))
    with closing(sqlite3.connect(graph)) as file:
        assert file.execute("SELECT name FROM sqlite_schema WHERE name LIKE 'tenantry%'").fetchall() == []


def test_what_could_not_be_sent_goes_out_with_the_next_command(graph: Path) -> None:
    with receiving() as receiver:
        _told(graph, receiver)
        port = receiver.port
    _typed(graph, "run", "--to", "columns")
    assert "3 not sent yet (nobody listens there)" in _typed(graph, "status")
    with receiving(port=port) as receiver:
        assert "3 messages sent" in _typed(graph, "notify")
    assert receiver.what == ["stage preflight", "stage backup", "stage columns"]


def test_what_was_sent_and_not_marked_when_the_run_was_killed_is_sent_again_with_its_id(graph: Path) -> None:
    here, killed = threading.Event(), threading.Event()

    def late(_got: Got) -> int:
        here.set()
        killed.wait(60)
        return 200

    with receiving(late) as receiver:
        _told(graph, receiver)
        with _started(graph, "run", "--to", "preflight") as process:
            assert here.wait(60)
            process.send_signal(signal.SIGKILL)
        killed.set()
        _typed(graph, "run", "--to", "backup")
    assert receiver.what == ["stage preflight", "stage preflight", "stage backup"]
    assert receiver.got[0].id == receiver.got[1].id


def test_rows_that_are_set_aside_are_counted_and_their_gate_is_told(graph: Path) -> None:
    with closing(sqlite3.connect(graph)) as file:
        file.execute("UPDATE entities SET properties = '{}' WHERE id IN ('e007', 'e077')")
        file.commit()
    with receiving() as receiver:
        _told(graph, receiver)
        for _ in range(2):
            _typed(graph, "run", status=4)
    assert receiver.what[-2:] == ["quarantine backfill", "gate backfill"]
    assert receiver.what.count("gate backfill") == 1
    assert receiver.got[-2].told["about"] == {"rows": 2}
    assert not any(b"e077" in got.body for got in receiver.got)


@pytest.mark.parametrize("webhook", [True, False])
def test_a_hold_that_lasts_is_told_once(graph: Path, *, webhook: bool) -> None:
    with receiving() as receiver:
        _told(graph, receiver, f'held_after = "200ms"\non = ["{"held" if webhook else "failed"}"]')
        plan = graph.parent / "migration.toml"
        plan.write_text(plan.read_text().replace("[notify]", f'[backfill]\nactive = "{never()}"\n\n[notify]'))

        with _started(graph, "run") as process:
            until(lambda: _held(graph), "word of the hold")
            # By then it would have been told again.
            until(lambda: time.time() - _held(graph)[0] > 3, "a hold that goes on")
            assert len(_held(graph)) == 1
    assert process.returncode == 130
    assert receiver.what == (["held backfill"] if webhook else [])


def _held(graph: Path) -> list[float]:
    """When a hold was told of."""
    with closing(sqlite3.connect(graph)) as file:
        if not file.execute("SELECT name FROM sqlite_schema WHERE name = 'tenantry_events'").fetchall():
            return []
        return [
            at for (at,) in file.execute("SELECT at FROM tenantry_events WHERE kind = 'held' ORDER BY id")
        ]
