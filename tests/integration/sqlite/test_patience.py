"""A run waits for writers that leave it no gap, whatever it is about to write."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from control.conductor import confirm
from control.sqlite import conductor, steps
from sql.errors import FileBusyError
from sql.sqlite.connection import File
from tests.integration.sqlite.filled import asked, made, plan_of

_TABLES = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, org TEXT)",
    "INSERT INTO notes VALUES (1, 'a'), (2, 'b')",
)
_NOTES = {"name": "notes", "tenant": {"expression": "org"}, "primary_key": ["id", "tenant_id"]}
_WRITES = ("BEGIN IMMEDIATE", "INSERT", "UPDATE", "DELETE", "CREATE", "DROP")


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts that follow each other at once."""
    monkeypatch.setattr(steps, "_LONGEST_WAIT", 0.001)


@contextmanager
def _starved(file: File, times: int) -> Iterator[list[str]]:
    """Have another writer in the way of each write that `patience` is for, so many times; which it was."""
    starved: list[str] = []
    left = 0
    file.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(file.path, isolation_level=None)) as other:

        def traced(sent: str) -> None:
            nonlocal left
            if file.patience is None:  # batches and steps wait in their own ways
                return
            if file.in_transaction or not sent.startswith(_WRITES):
                return
            if not other.in_transaction:
                other.execute("BEGIN IMMEDIATE")
                starved.append(sent)
                left = times
            elif left := left - 1:
                return
            else:
                other.execute("ROLLBACK")

        file.raw.set_trace_callback(traced)
        yield starved
        file.raw.set_trace_callback(None)


def test_a_writer_in_the_way_of_each_write_stops_neither_way_and_is_told_of(
    tmp_path: Path,
) -> None:
    path = made(tmp_path / "file.db", *_TABLES)
    before = asked(path, "SELECT sql FROM sqlite_schema")
    plan = plan_of(path, [_NOTES])
    said: list[str] = []
    with conductor.controller(plan) as file, _starved(file, 1) as starved:
        conductor.run(plan, file, to="indexes", notify=said.append)
        confirm(plan, file, "application")
        conductor.run(plan, file, to="keys", notify=said.append)
        there = len(starved)
        conductor.rollback(plan, file, notify=said.append)
    assert there > 20
    assert len(starved) > there + 10
    assert any(line.startswith("the ledger: another connection writes; attempt 1 of") for line in said)
    assert asked(path, "SELECT sql FROM sqlite_schema") == before


def test_a_writer_that_never_ends_ends_the_run_after_as_many_attempts_as_for_a_step(tmp_path: Path) -> None:
    path = made(tmp_path / "file.db", *_TABLES)
    plan = plan_of(path, [_NOTES])
    said: list[str] = []
    with (
        conductor.controller(plan) as file,
        _starved(file, steps._ATTEMPTS + 1),
        pytest.raises(FileBusyError),
    ):
        conductor.run(plan, file, to="columns", notify=said.append)
    assert len(said) == steps._ATTEMPTS - 1
