"""`run --maintenance-window` for a file: nobody else has it open, so no throttle and no guard."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from control.conductor import confirm
from control.plan.model import Plan
from control.sqlite import conductor
from control.sqlite.preflight import openers
from sql.errors import GateClosedError, GivenWrongError
from tests.integration.sqlite.filled import asked, made, plan_of

_NOTES = {"name": "notes", "tenant": {"expression": "org"}, "primary_key": ["id", "tenant_id"]}
_GUARDS = "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
_OPENER = """
import sqlite3, sys
opened = sqlite3.connect(sys.argv[1])
opened.execute("SELECT * FROM notes").fetchall()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The plan of a file with two rows."""
    path = made(
        tmp_path / "file.db",
        "CREATE TABLE notes (id TEXT PRIMARY KEY, org TEXT)",
        "INSERT INTO notes VALUES ('1', 'a'), ('2', 'b')",
    )
    return plan_of(path, [_NOTES], verify={"quiet": "0s"})


def _path(plan: Plan) -> Path:
    return Path(plan.database.url.get_secret_value().removeprefix("sqlite:///"))


def _run(plan: Plan, *, to: str | None = None, window: bool = True) -> list[str]:
    said: list[str] = []
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to=to, maintenance_window=window, notify=said.append)
    return said


@contextmanager
def _open_elsewhere(path: Path) -> Iterator[int]:
    """Another process has the file open, idle; its id."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OPENER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "open\n"
        yield process.pid
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_it_is_refused_while_another_process_has_the_file_open(plan: Plan) -> None:
    before = asked(_path(plan), "SELECT sql FROM sqlite_schema WHERE name = 'notes'")
    with _open_elsewhere(_path(plan)) as pid, pytest.raises(GateClosedError, match=f"process {pid}"):
        _run(plan)
    assert asked(_path(plan), "SELECT sql FROM sqlite_schema WHERE name = 'notes'") == before
    assert _run(plan, to="backfill") is not None


def test_it_goes_without_guard_and_throttle_and_only_so_and_ends_as_the_other_way_does(plan: Plan) -> None:
    with pytest.raises(GateClosedError, match="without starting it"):
        _run(plan)
    assert asked(_path(plan), _GUARDS) == []
    ((settings,),) = asked(_path(plan), "SELECT settings FROM tenantry_migrations")
    assert json.loads(settings)["throttle"] is False
    with pytest.raises(GivenWrongError, match="was begun in a maintenance window"):
        _run(plan, window=False)
    with conductor.controller(plan) as file:
        confirm(plan, file, "application")
    _run(plan)
    schema = "SELECT name, sql FROM sqlite_schema WHERE name NOT GLOB '*tenantry*' ORDER BY name"
    in_window = asked(_path(plan), schema)
    with conductor.controller(plan) as file:
        conductor.rollback(plan, file, notify=lambda _line: None)
    _run(plan, to="indexes", window=False)
    assert asked(_path(plan), _GUARDS) != []
    with conductor.controller(plan) as file:
        confirm(plan, file, "application")
    _run(plan, window=False)
    assert asked(_path(plan), schema) == in_window


def test_where_no_process_can_be_seen_it_says_so_and_goes_on(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openers, "_PROCESSES", tmp_path / "none")
    said = _run(plan, to="columns")
    assert "columns: who has the file open can't be seen on this machine; see that nobody has" in said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user for a moment")
def test_processes_that_another_user_cannot_look_into_are_counted() -> None:
    child = os.fork()
    if child == 0:
        os.setuid(65_534)
        found = openers.openers(Path("/"))
        os._exit(0 if found is not None and found.hidden else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
