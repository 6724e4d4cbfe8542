"""The write guard of a SQLite file: what it gives, what it leaves alone, what it counts, and when it goes."""

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from control.plan.model import Plan
from control.sqlite import conductor, guard, retiring
from control.sqlite.steps import take
from sql.sqlite import guard as sql_guard
from tests.integration.sqlite.filled import asked, made, plan_of, run
from worker import ledger

_TABLES = (
    "CREATE TABLE entities (id TEXT PRIMARY KEY, org TEXT, changed INT)",
    "CREATE TABLE relations (a TEXT, b INT, source TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "INSERT INTO entities VALUES ('e1', 'red', 0), ('e2', 'blue', 0)",
    "INSERT INTO relations VALUES ('r', 1, 'e1'), ('r', 2, 'e2')",
)


def _plan(path: Path, **tenant: Any) -> Plan:
    tables = [
        {"name": "entities", "tenant": {"expression": "org"}},
        {"name": "relations", "tenant": {"parent": "entities", "on": {"source": "id"}}},
    ]
    return plan_of(path, tables, tenant=tenant, verify={"quiet": "1ms"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two tables."""
    return made(tmp_path / "graph.db", *_TABLES)


@pytest.fixture
def code(path: Path) -> Iterator[sqlite3.Connection]:
    """Old code, which holds foreign keys and has triggers fire themselves."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")
        yield connection


def _tenants(path: Path, table: str) -> list[str]:
    return [row[0] for row in asked(path, f"SELECT tenant_id FROM {table} ORDER BY 1")]


def _uses(plan: Plan) -> dict[str, int]:
    with conductor.controller(plan) as file:
        ground = conductor.ground_of(plan, file, ledger.read(file, plan.name), print)
        return {table: use.uses for table, use in guard.uses(file, plan, ground.original).items()}


def test_rows_of_old_code_get_their_tenant_and_each_use_is_counted(
    path: Path, code: sqlite3.Connection
) -> None:
    plan = _plan(path)
    run(plan)
    assert _uses(plan) == {"entities": 0, "relations": 0}
    code.execute("INSERT INTO entities (id, org) VALUES ('e3', 'green'), ('e4', 'red')")
    code.execute("INSERT OR REPLACE INTO relations (a, b, source) VALUES ('r', 1, 'e3')")
    code.execute("INSERT INTO relations VALUES ('r', 3, 'e1', NULL) ON CONFLICT DO UPDATE SET source = 'e1'")
    assert _tenants(path, "entities") == ["blue", "green", "red", "red"]
    assert _tenants(path, "relations") == ["blue", "green", "red"]
    assert _uses(plan) == {"entities": 2, "relations": 2}
    code.execute("UPDATE relations SET source = 'e2'")
    assert _tenants(path, "relations") == ["blue", "blue", "blue"]
    code.execute("UPDATE entities SET changed = 1")
    assert _uses(plan) == {"entities": 2, "relations": 4}


def test_what_the_application_says_itself_is_left_alone(path: Path, code: sqlite3.Connection) -> None:
    plan = _plan(path)
    run(plan)
    code.execute("INSERT INTO entities (id, org, tenant_id) VALUES ('e3', 'green', 'own')")
    code.execute("UPDATE relations SET source = 'e2', tenant_id = 'own' WHERE b = 1")
    assert _tenants(path, "entities") == ["blue", "own", "red"]
    assert _tenants(path, "relations") == ["blue", "own"]
    assert _uses(plan) == {"entities": 0, "relations": 0}


def test_rows_follow_their_parent_or_keep_it_from_moving_as_the_plan_says(
    path: Path, code: sqlite3.Connection, tmp_path: Path
) -> None:
    run(_plan(path))
    code.execute("UPDATE entities SET org = 'green' WHERE id = 'e1'")
    assert _tenants(path, "relations") == ["blue", "green"]
    code.execute("INSERT OR REPLACE INTO entities (id, org) VALUES ('e1', 'gold')")
    assert _tenants(path, "relations") == ["blue", "gold"]
    other = made(tmp_path / "other.db", *_TABLES)
    run(_plan(other, moves="refuse"))
    with closing(sqlite3.connect(other, isolation_level=None)) as refused:
        with pytest.raises(sqlite3.IntegrityError, match='moves = "refuse"'):
            refused.execute("UPDATE entities SET org = 'green' WHERE id = 'e1'")
        refused.execute("DELETE FROM relations WHERE source = 'e1'")
        refused.execute("UPDATE entities SET org = 'green' WHERE id = 'e1'")
    assert _tenants(other, "relations") == ["blue"]


_AWAY = (
    ("UPDATE folders SET org = 2",),
    ("UPDATE orgs SET id = 3 WHERE id = 1", "UPDATE orgs SET id = 1 WHERE id = 2"),
    ("DELETE FROM orgs WHERE id = 1", "UPDATE orgs SET id = 1 WHERE id = 2"),
    (
        "DELETE FROM folders WHERE id = 1",
        "INSERT INTO folders VALUES (1, NULL, 2, NULL)",
        "UPDATE folders SET org = 2",
    ),
)


@pytest.mark.parametrize(
    "away",
    _AWAY,
    ids=["another parent", "another parent's key", "another parent in its place", "a new parent"],
)
@pytest.mark.parametrize("moves", ["follow", "refuse"])
@pytest.mark.parametrize("tree", [False, True], ids=["tables", "tree"])
def test_what_comes_to_a_parent_that_a_batch_has_not_reached_yet_waits_with_it_and_all_below_too(
    tmp_path: Path, moves: str, away: tuple[str, ...], *, tree: bool
) -> None:
    path = made(
        tmp_path / "file.db",
        "CREATE TABLE orgs (id INT, tenant TEXT)",
        "CREATE TABLE folders (id INT, above INT, org INT)",
        "CREATE TABLE files (id INT, folder INT)",
        "INSERT INTO orgs VALUES (1, 'acme'), (2, 'umbra')",
        "INSERT INTO folders VALUES (1, NULL, 2), (2, 1, 2)",
        "INSERT INTO files VALUES (1, 1)",
    )
    org = {"parent": "orgs", "on": {"org": "id"}}
    source = {"parent": "folders", "on": {"above": "id"}, "otherwise": org} if tree else org
    tables = [
        {"name": "orgs", "tenant": {"expression": "tenant"}},
        {"name": "folders", "tenant": source},
        {"name": "files", "tenant": {"parent": "folders", "on": {"folder": "id"}}},
    ]
    plan = plan_of(path, tables, tenant={"moves": moves}, verify={"quiet": "1ms"})
    both = "SELECT tenant_id FROM folders UNION SELECT tenant_id FROM files"
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="columns", notify=lambda _line: None)
        with file.transaction(), sql_guard.followed_by_nobody(file):
            file.execute("UPDATE orgs SET tenant_id = tenant WHERE id = 1")
    with closing(sqlite3.connect(path, isolation_level=None)) as code:
        code.execute("UPDATE folders SET org = 1")
        assert asked(path, both) == [("acme",)]
        for statement in away:
            code.execute(statement)
    run(plan)
    assert asked(path, both) == [("umbra",)]


def test_a_column_that_the_application_had_before_is_never_emptied(tmp_path: Path) -> None:
    path = made(
        tmp_path / "file.db",
        *_TABLES[:1],
        "CREATE TABLE relations (a INT, source TEXT, tenant_id TEXT CHECK (tenant_id IS NOT NULL))",
        "INSERT INTO entities VALUES ('e1', 'red', 0), ('e2', NULL, 0)",
        "INSERT INTO relations VALUES (1, 'e1', 'red')",
    )
    with conductor.controller(_plan(path)) as file:
        conductor.run(_plan(path), file, to="columns", notify=lambda _line: None)
    with closing(sqlite3.connect(path, isolation_level=None)) as code:
        code.execute("UPDATE relations SET source = 'e2'")
        code.execute("UPDATE entities SET id = 'e3' WHERE id = 'e2'")
    assert asked(path, "SELECT source, tenant_id FROM relations") == [("e2", "red")]


def test_at_no_step_of_putting_it_in_its_place_a_row_stays_behind_its_parent(
    path: Path, code: sqlite3.Connection
) -> None:
    count = itertools.count()

    def move() -> None:
        # Rows of its own for each step: what moves again later takes all of its own along.
        new = next(count)
        code.execute("INSERT INTO entities (id, org) VALUES (?, 'blue')", [new])
        code.execute("INSERT INTO relations (a, b, source) VALUES ('new', ?, ?)", [new, new])
        code.execute("UPDATE entities SET org = 'red' WHERE id = ?", [new])

    run(_plan(path), beside=move)
    assert _tenants(path, "relations WHERE a = 'new'") == ["red"] * next(count)


def test_the_guard_stays_while_old_code_needs_it_and_goes_once_it_does_not(
    path: Path, code: sqlite3.Connection
) -> None:
    plan = _plan(path)
    run(plan)
    before = asked(path, "SELECT sql FROM sqlite_schema ORDER BY name")
    with conductor.controller(plan) as file:
        ground = conductor.ground_of(plan, file, ledger.read(file, plan.name), print)
        retiring.observe(ground)
        code.execute("INSERT INTO entities (id, org) VALUES ('e3', 'green')")
        assert not retiring.retire(ground, "verify")
        assert retiring.retire(ground, "verify")
        assert not asked(path, "SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        assert guard.uses(file, plan, ground.original) == {}
        take(guard.put(plan, ground.original), ground, "verify")
    assert asked(path, "SELECT sql FROM sqlite_schema ORDER BY name") == before


@pytest.mark.parametrize(
    ("expression", "fails"),
    [("doc->>'org'", True), ("CASE WHEN json_valid(doc) THEN doc->>'org' END", False)],
)
def test_an_expression_that_fails_fails_the_write_and_one_that_gives_null_leaves_it(
    tmp_path: Path, expression: str, *, fails: bool
) -> None:
    path = made(tmp_path / "file.db", "CREATE TABLE notes (id INTEGER PRIMARY KEY, doc TEXT)")
    plan = plan_of(path, [{"name": "notes", "tenant": {"expression": expression}}])
    with conductor.controller(plan) as file:
        conductor.run(plan, file, to="columns", notify=lambda _line: None)
    with pytest.raises(sqlite3.OperationalError, match="JSON") if fails else nullcontext():
        made(path, "INSERT INTO notes (doc) VALUES ('no json')")
    assert asked(path, "SELECT count(*) FROM notes WHERE tenant_id IS NULL") == [(0 if fails else 1,)]
