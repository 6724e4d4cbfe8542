"""What keeps a backfill of a SQLite file from its end, how that is shown, and how it goes on."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from control import holds, status
from control.plan.model import Plan
from control.sqlite import conductor
from sql.errors import (
    CancelledError,
    GateClosedError,
    GivenWrongError,
    JobStoppedError,
    QuarantineError,
    ServerError,
)
from tests.integration.sqlite.filled import asked, made, plan_of, run
from worker import jobs, ledger
from worker.governor.limits import LABELS, Limit, Sample
from worker.governor.zones import judge_sample

_ROWS = 1_000
_NUMBERS = f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {_ROWS})"
_TABLES = (
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, doc TEXT)",
    f"{_NUMBERS} INSERT INTO notes SELECT n, json_object('org', 'org' || (n % 3)) FROM s",
)
_NOTES = {"name": "notes", "tenant": {"expression": "doc->>'org'"}}


def _prepared(tmp_path: Path, *more: str) -> Path:
    return made(tmp_path / "file.db", *_TABLES, *more)


def _retried(plan: Plan) -> None:
    with conductor.controller(plan) as file:
        jobs.release(file, ledger.read(file, plan.name).id)


def test_rows_that_fail_are_set_aside_with_key_and_message_and_filled_once_mended(tmp_path: Path) -> None:
    path = _prepared(
        tmp_path,
        "CREATE TRIGGER never AFTER UPDATE ON notes WHEN NEW.id = 500"
        " BEGIN SELECT RAISE(ABORT, 'not 500'); END",
    )
    plan = plan_of(path, [_NOTES])
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="columns", notify=lambda _line: None)
    made(
        path,
        "DROP TRIGGER tenantry_update_notes",  # it would fail for what is no json, as the batch does
        "UPDATE notes SET doc = 'no json' WHERE id = 77",
        "UPDATE notes SET doc = '{}' WHERE id IN (3, 900)",
    )
    with pytest.raises(QuarantineError):
        run(plan)
    with conductor.controller(plan) as file:
        found = holds.read(file, ledger.read(file, plan.name).id, most=10)
    assert {(row.key["rowid"], row.sqlstate, row.message) for row in found.rows} == {
        ("500", "P0001", "not 500"),
        ("77", "42000", "malformed JSON"),
        ("3", "", "its source gives it no tenant"),
        ("900", "", "its source gives it no tenant"),
    }
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(4,)]
    made(
        path,
        "DROP TRIGGER never",
        'UPDATE notes SET doc = \'{"org": "mended"}\' WHERE id IN (3, 77, 900)',
    )
    _retried(plan)
    run(plan)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NOT doc->>'org'") == [(0,)]


def test_a_batch_whose_statement_names_what_is_gone_stops_the_job_and_sets_no_row_aside(
    tmp_path: Path,
) -> None:
    path = _prepared(tmp_path, "CREATE TABLE seen (id)")
    plan = plan_of(path, [_NOTES])
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="columns", notify=lambda _line: None)
    made(path, "CREATE TRIGGER sees AFTER UPDATE ON notes BEGIN INSERT INTO seen VALUES (new.id); END")
    made(path, "DROP TABLE seen")
    with pytest.raises(
        JobStoppedError, match=r"no such table: main\.seen.*`tenantry retry` and `tenantry run`"
    ):
        run(plan)
    assert asked(path, "SELECT count(*) FROM tenantry_quarantine") == [(0,)]
    assert asked(path, "SELECT count(*) FROM tenantry_batches WHERE state = 'split'") == [(0,)]
    made(path, "CREATE TABLE seen (id)")
    _retried(plan)
    run(plan)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(0,)]


def test_a_row_that_is_set_aside_is_told_by_its_rowid_and_by_its_primary_key(tmp_path: Path) -> None:
    path = made(
        tmp_path / "file.db",
        'CREATE TABLE notes (org TEXT, b INTEGER, "a ""key" TEXT, PRIMARY KEY ("a ""key", b))',
        'INSERT INTO notes (rowid, "a ""key", b, org)'
        " VALUES (7, 'it''s', 1, NULL), (8, 'y', 2, 'o'), (9, 'z', 3, NULL)",
    )
    plan = plan_of(path, [{"name": "notes", "tenant": {"expression": "org"}}])
    with pytest.raises(QuarantineError):
        run(plan)
    made(path, "DELETE FROM notes WHERE rowid = 9")
    with conductor.controller(plan) as file:
        found = holds.read(file, ledger.read(file, plan.name).id, most=10)
    assert [row.key for row in found.rows] == [
        {"rowid": "7", 'a "key': "'it''s'", "b": "1"},
        {"rowid": "9"},
    ]


def test_waiting_for_a_lock_is_told_in_words_that_are_true_of_a_file(tmp_path: Path) -> None:
    plan = plan_of(_prepared(tmp_path), [_NOTES])
    run(plan)
    with conductor.controller(plan) as file:
        governor = status.read(file, plan.name).governor
    assert governor is not None
    labels = {signal.signal: signal.label for signal in governor.signals}
    assert set(labels) == set(LABELS)
    assert labels["waited"] == "seconds that a batch of ours waits for another writer"
    verdict = judge_sample(
        Sample(values={"waited": 2.0}, on_file=True), {"waited": Limit(max=0.2, stop=1.0)}, {}, "hold"
    )
    assert verdict.reason == "seconds that a batch of ours waits for another writer: 2, stop at 1"


def test_a_job_of_which_more_than_half_of_the_batches_fail_stops_and_says_why(tmp_path: Path) -> None:
    path = _prepared(
        tmp_path, "CREATE TRIGGER never AFTER UPDATE ON notes BEGIN SELECT RAISE(ABORT, 'closed'); END"
    )
    plan = plan_of(path, [_NOTES])
    with pytest.raises(JobStoppedError, match="closed"):
        run(plan)
    with pytest.raises(JobStoppedError):
        run(plan)
    made(path, "DROP TRIGGER never")
    _retried(plan)
    run(plan)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(0,)]


class _Counted:
    """Does something once the backfill is under way, before a batch."""

    def __init__(self, path: Path, act: Callable[[], None]) -> None:
        self.path, self.act, self.done = path, act, False

    def __call__(self) -> None:
        if self.done or not _rows(self.path):
            return
        self.done = True
        self.act()


def _rows(path: Path) -> int:
    """How many rows the ledger says are done; none before it is there."""
    try:
        return int(asked(path, "SELECT coalesce(sum(rows), 0) FROM tenantry_batches")[0][0])
    except sqlite3.OperationalError:
        return 0


def _say(path: Path, state: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE tenantry_migrations SET state = ?", (state,))


def test_a_cancel_reaches_a_backfill_between_two_batches_and_it_goes_on_from_there(tmp_path: Path) -> None:
    path = _prepared(tmp_path)
    plan = plan_of(path, [_NOTES])
    with pytest.raises(CancelledError):
        run(plan, beside=_Counted(path, lambda: _say(path, "cancelled")))
    assert 0 < _rows(path) < _ROWS
    with pytest.raises(GateClosedError):
        run(plan)
    _say(path, "running")
    run(plan)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(0,)]


def test_status_shows_the_progress_and_the_signals_of_a_file(tmp_path: Path) -> None:
    path = _prepared(tmp_path)
    plan = plan_of(path, [_NOTES], governor={"query": "SELECT 7.5", "max_query": 100})
    run(plan)
    with conductor.controller(plan) as file:
        found = status.read(file, plan.name)
    (table,) = found.tables
    assert (table.state, table.rows_done, table.batches["pending"]) == ("complete", _ROWS, 0)
    assert found.governor is not None
    signals = {signal.signal: signal.value for signal in found.governor.signals}
    assert signals["query"] == 7.5
    assert signals["waited"] is not None


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT doc FROM notes LIMIT 1", "it gives a text instead of a number"),
        ("SELECT NULL", "it gives NULL instead of a number"),
        ("SELECT 9e999", "it gives infinity or NaN instead of a number"),
        ("SELECT id FROM notes", "it gives something else than one row with one number"),
        ("DELETE FROM notes RETURNING 1", "attempt to write a readonly database"),
        (_NUMBERS.replace(str(_ROWS), "1e12") + " SELECT count(*) FROM s", "interrupted"),
        ("SELECT missing", "no such column: missing"),
    ],
)
def test_a_query_of_the_plans_own_that_gives_no_number_is_told_once_without_what_it_gives_and_stops_nothing(
    tmp_path: Path, query: str, told: str
) -> None:
    path = _prepared(tmp_path)
    run(plan_of(path, [_NOTES], governor={"query": query, "max_query": 100}))
    assert asked(path, "SELECT message FROM tenantry_events WHERE message LIKE '%read, %'") == [
        (f"the plan's own query: can't be read, {told}; it is not judged",)
    ]
    assert asked(path, "SELECT count(tenant_id) FROM notes") == [(_ROWS,)]


def test_no_batch_goes_outside_the_hours_of_the_plan_and_that_is_shown(tmp_path: Path) -> None:
    path = _prepared(tmp_path)
    plan = plan_of(path, [_NOTES], backfill={"first_batch": 100, "active": "Mon 00:00-00:01 Etc/GMT+12"})
    held: list[Any] = []

    def look() -> None:
        ((found,),) = asked(path, "SELECT held FROM tenantry_migrations")
        if found is not None:
            held.append(found)
            _say(path, "cancelled")

    with pytest.raises(CancelledError):
        run(plan, beside=look, before="SELECT j.id, j.table_name")
    assert "outside the hours of the plan" in held[0]
    assert _rows(path) == 0


def test_rows_that_name_another_tenants_are_set_aside_where_the_plan_says_so(tmp_path: Path) -> None:
    path = _prepared(
        tmp_path,
        "CREATE TABLE links (id INTEGER PRIMARY KEY, a INT REFERENCES notes (id), b INT REFERENCES notes)",
        "INSERT INTO links VALUES (1, 3, 6), (2, 3, 7), (3, 4, NULL)",
    )
    keyed = {"primary_key": ["id", "tenant_id"]}
    links = {"name": "links", "tenant": {"parent": "notes", "on": {"a": "id"}}}
    plan = plan_of(path, [_NOTES | keyed, links | keyed], tenant={"cross_tenant": "quarantine"})
    with pytest.raises(QuarantineError, match="1 row"):
        run(plan)
    assert asked(path, "SELECT key, sqlstate, message FROM tenantry_quarantine") == [
        ('["2"]', "23503", "of org0, and b names a row of org1")
    ]
    made(path, "DELETE FROM links WHERE id = 2")
    run(plan)
    assert asked(path, "SELECT key FROM tenantry_quarantine") == []


def test_the_way_back_that_keeps_the_columns_leaves_every_row_without_a_tenant(tmp_path: Path) -> None:
    path = _prepared(tmp_path)
    plan = plan_of(path, [_NOTES])
    run(plan)
    with conductor.controller(plan) as file:
        conductor.rollback(plan, file, keep_columns=True, notify=lambda _line: None)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NOT NULL") == [(0,)]
    assert asked(path, "SELECT name FROM sqlite_schema WHERE type = 'trigger'") == []
    run(plan)
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(0,)]


def test_rows_that_come_without_a_tenant_after_the_proof_open_the_stage_again(tmp_path: Path) -> None:
    path = _prepared(tmp_path)
    plan = plan_of(path, [_NOTES])
    run(plan)
    made(path, "UPDATE notes SET tenant_id = NULL WHERE id = 5")
    said = run(plan)
    assert any(line.startswith("backfill: the tables are not as it left them") for line in said)
    assert asked(path, "SELECT tenant_id FROM notes WHERE id = 5") == [("org2",)]


@pytest.mark.parametrize("renamed", ["doc", "id", "tenant_id"])
def test_a_run_names_a_column_that_the_application_has_renamed_and_goes_on_once_it_has_its_name(
    tmp_path: Path, renamed: str
) -> None:
    path = made(
        tmp_path / "file.db",
        "CREATE TABLE notes (id TEXT PRIMARY KEY, doc TEXT) WITHOUT ROWID",
        """INSERT INTO notes VALUES ('a', '{"org": "acme"}')""",
    )
    plan = plan_of(path, [_NOTES])
    run(plan)
    made(path, f"ALTER TABLE notes RENAME COLUMN {renamed} TO other")
    with pytest.raises(GivenWrongError, match=rf"notes\.{renamed} is gone, or has another name now"):
        run(plan)
    made(path, f"ALTER TABLE notes RENAME COLUMN other TO {renamed}")
    run(plan)


def test_a_run_tells_that_a_table_that_a_source_asks_is_gone(tmp_path: Path) -> None:
    orgs = (
        "CREATE TABLE orgs (id INTEGER PRIMARY KEY, org)",
        "INSERT INTO orgs SELECT id, 'acme' FROM notes",
    )
    path = _prepared(tmp_path, *orgs)
    source = {"lookup": "orgs", "on": {"id": "id"}, "column": "org"}
    plan = plan_of(path, [{"name": "notes", "tenant": source}])
    run(plan)
    made(path, "ALTER TABLE orgs RENAME TO others")
    with pytest.raises(ServerError, match="no such table: orgs"):
        run(plan)
