"""A file's disk: how batches wait for it, and what becomes of them once it is full."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from control.plan.model import Plan
from control.sqlite import conductor
from tests.integration.sqlite.filled import asked, made, plan_of
from tests.waiting import until

_ROWS = 3_000
_NUMBERS = f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {_ROWS})"
_TABLES = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, org TEXT, tenant_id TEXT)",
    "CREATE TABLE counted (id INTEGER, room BLOB)",  # some 150 pages in the end
    "CREATE TRIGGER seen AFTER UPDATE ON notes BEGIN INSERT INTO counted VALUES (NEW.id, zeroblob(200)); END",
    f"{_NUMBERS} INSERT INTO notes (id, org) SELECT n, 'org' || n % 3 FROM s",
)
_WAITING = "SELECT 1 FROM tenantry_batches WHERE sqlstate = '53100'"


def _plan(path: Path, synchronous_commit: str = "on") -> Plan:
    notes = {"name": "notes", "tenant": {"expression": "org"}}
    backfill = {"first_batch": 100, "synchronous_commit": synchronous_commit}
    return plan_of(path, [notes], backfill=backfill)


def _run(plan: Plan) -> list[str]:
    """Run as far as the backfill; what was sent."""
    sent: list[str] = []
    with conductor.controller(plan) as file:
        file.raw.set_trace_callback(sent.append)
        conductor.run(plan, file, to="backfill", notify=lambda _line: None)
    return sent


def test_batches_wait_while_the_disk_is_full_and_then_write_each_row_once(tmp_path: Path) -> None:
    """SQLite's own limit on a file's pages fails as a disk does that has no more."""
    path = made(tmp_path / "file.db", *_TABLES)
    plan = _plan(path)
    with conductor.controller(plan) as file, ThreadPoolExecutor(1) as operator:
        conductor.run(plan, file, to="columns", notify=lambda _line: None)
        (pages,) = file.raw.execute("PRAGMA page_count").fetchone()
        file.raw.execute(f"PRAGMA max_page_count = {pages + 25}")

        def make_room() -> None:
            until(lambda: asked(path, _WAITING), "a batch that finds no room")
            file.raw.execute(f"PRAGMA max_page_count = {pages + 10_000}")

        made_room = operator.submit(make_room)
        conductor.run(plan, file, to="backfill", notify=lambda _line: None)
        made_room.result()
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NOT org") == [(0,)]
    assert asked(path, "SELECT count(*), count(DISTINCT id) FROM counted") == [(_ROWS, _ROWS)]


@pytest.mark.parametrize(
    ("mode", "synchronous_commit", "quick"),
    [("WAL", "off", True), ("WAL", "on", False), ("DELETE", "off", False)],
)
def test_batches_wait_for_the_disk_unless_the_plan_says_not_to_and_the_file_can_t_be_torn_by_it(
    tmp_path: Path, mode: str, synchronous_commit: str, *, quick: bool
) -> None:
    path = made(tmp_path / "file.db", *_TABLES)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    sent = _run(_plan(path, synchronous_commit))
    assert ("PRAGMA synchronous = NORMAL" in "\n".join(sent)) is quick
    assert "PRAGMA synchronous = FULL" in "\n".join(sent)
