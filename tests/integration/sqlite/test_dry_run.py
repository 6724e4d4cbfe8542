"""`plan` of a file: it tells what a run does, changes nothing, and its script leads a copy to the same."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from control.conductor import confirm
from control.plan.model import Plan
from control.sqlite import conductor, dry_run
from control.sqlite.preflight.estimate import estimates
from sql.errors import GivenWrongError
from sql.sqlite.catalog import OURS
from tests.integration.sqlite.looked import PLAN, make, plan, surveyed
from tests.integration.typist import typed

#: A file with most of what tables can have.
ODD = """
CREATE TABLE orgs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
INSERT INTO orgs VALUES (1, 'acme'), (2, 'umbra');
CREATE TABLE "odd ones" (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- a comment
    org INT REFERENCES orgs, up INT REFERENCES "odd ones" ON DELETE CASCADE,
    mail TEXT COLLATE NOCASE, n INT DEFAULT (1 + 1) CHECK (n > 0),
    twice INT AS (n * 2) STORED, UNIQUE (mail)
);
CREATE INDEX "by n" ON "odd ones" (n DESC) WHERE n > 1;
CREATE INDEX by_expression ON "odd ones" (lower(mail));
CREATE TRIGGER keep AFTER DELETE ON "odd ones" BEGIN UPDATE orgs SET name = name WHERE id = old.org; END;
INSERT INTO "odd ones" (id, org, up, mail, n) VALUES
    (7, 1, NULL, 'a', 3), (8, NULL, 7, 'B', 1), (9, 2, NULL, NULL, 2);
DELETE FROM "odd ones" WHERE id = 9;
CREATE TABLE kept (
    a TEXT, b INT, x BLOB, odd INT REFERENCES "odd ones", PRIMARY KEY (a, b)
) STRICT, WITHOUT ROWID;
INSERT INTO kept VALUES ('k', 1, x'00ff', 7), ('k', 2, NULL, 8);
CREATE TABLE outside (id INTEGER PRIMARY KEY, a TEXT, b INT, FOREIGN KEY (a, b) REFERENCES kept);
INSERT INTO outside VALUES (1, 'k', 1);
CREATE VIEW both AS SELECT k.a, o.mail FROM kept AS k JOIN "odd ones" AS o ON o.id = k.odd;
"""
_ODD_TABLES = [
    {
        "name": "odd ones",
        "tenant": {
            "parent": "odd ones",
            "on": {"up": "id"},
            "otherwise": {"lookup": "orgs", "on": {"org": "id"}, "column": "name"},
        },
        "indexes": [{"name": "odd_tenant", "columns": ["tenant_id"]}],
        "primary_key": ["id", "tenant_id"],
    },
    {
        "name": "kept",
        "tenant": {"parent": "odd ones", "on": {"odd": "id"}},
        "primary_key": ["a", "b", "tenant_id"],
    },
]
_CONSTANT = [
    PLAN["tables"][0] | {"tenant": {"constant": "acme"}},
    PLAN["tables"][1] | {"tenant": {"constant": "acme"}},
]

WORLDS = {"graph": ("", PLAN["tables"]), "constant": ("", _CONSTANT), "odd": (ODD, _ODD_TABLES)}


def _world(name: str, folder: Path) -> tuple[Path, Plan]:
    statements, tables = WORLDS[name]
    path = make(folder, statements)
    return path, plan(path).model_copy(
        update={"tables": Plan.model_validate(PLAN | {"database": {"url": "x"}, "tables": tables}).tables}
    )


def _script(given: Plan) -> str:
    with surveyed(given) as ground:
        return "\n".join(dry_run.script(ground))


def _contents(path: Path) -> tuple[set[tuple[str, ...]], dict[str, list[str]]]:
    """The schema without what is ours, and every row with its rowid."""
    with closing(sqlite3.connect(path)) as opened:
        schema = {
            row
            for row in opened.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema")
            if not row[1].startswith(OURS) and not row[2].startswith(OURS)
        }
        tables = [name for kind, name, _, _ in schema if kind == "table"]
        return schema, {name: _rows(opened, name) for name in tables}


def _rows(opened: sqlite3.Connection, table: str) -> list[str]:
    named = '"' + table.replace('"', '""') + '"'
    try:
        rows = opened.execute(f"SELECT rowid, * FROM {named}")
    except sqlite3.OperationalError:
        rows = opened.execute(f"SELECT * FROM {named}")
    return sorted(map(repr, rows))


@pytest.mark.parametrize("world", WORLDS)
def test_the_script_leads_a_copy_to_the_schema_and_the_rows_of_a_run(world: str, tmp_path: Path) -> None:
    path, given = _world(world, tmp_path)
    script = _script(given)
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(path)) as opened, closing(sqlite3.connect(copy)) as copied:
        opened.backup(copied)
    with conductor.controller(given) as file:
        conductor.run(given, file, to="indexes", notify=lambda _line: None)
        confirm(given, file, "application")
        conductor.run(given, file, to="keys", notify=lambda _line: None)
    with closing(sqlite3.connect(copy, isolation_level=None)) as copied:
        copied.executescript(script)
        assert copied.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    (schema, rows), (schema_of_copy, rows_of_copy) = _contents(path), _contents(copy)
    assert schema_of_copy == schema
    assert rows_of_copy == rows


def test_a_dry_run_changes_nothing_and_tells_each_statement_with_its_lock(tmp_path: Path) -> None:
    path, given = _world("odd", tmp_path)
    before = _contents(path)
    with surveyed(given) as ground:
        told = list(dry_run.statements(ground))
    assert _contents(path) == before
    assert [one.stage for one in told if one.stage != "columns"] == [
        "backfill",
        "backfill",
        "keys",
        "keys",
        "keys",
    ]
    assert {one.lock for one in told} == {"write lock"}
    assert not any(one.done for one in told)
    assert any(one.statement == 'ALTER TABLE "kept" ADD COLUMN "tenant_id" TEXT' for one in told)
    assert [one.what.split(":")[0] for one in told if one.stage == "keys"] == ["odd ones", "kept", "outside"]


def test_what_is_done_is_told_as_done(tmp_path: Path) -> None:
    _, given = _world("graph", tmp_path)
    with conductor.controller(given) as file:
        conductor.run(given, file, to="backfill", notify=lambda _line: None)
    with surveyed(given) as ground:
        done = {one.stage: one.done for one in dry_run.statements(ground)}
    assert done == {"columns": True, "backfill": True, "keys": False}


def test_a_script_from_the_beginning_is_refused_once_the_migration_is_under_way(tmp_path: Path) -> None:
    _, given = _world("graph", tmp_path)
    with conductor.controller(given) as file:
        conductor.run(given, file, to="columns", notify=lambda _line: None)
    with pytest.raises(GivenWrongError, match="under way"):
        _script(given)


def test_plan_shows_the_estimates_of_check_with_each_stage(tmp_path: Path) -> None:
    path, given = _world("graph", tmp_path)
    (tmp_path / "migration.toml").write_text(
        'name = "m"\n[database]\nurl = "sqlite:///graph.db"\n[[tables]]\nname = "entities"\n'
        'tenant = { constant = "acme" }\nprimary_key = ["id", "tenant_id"]\n'
    )
    told = typed(["plan", "--json"], folder=tmp_path, environment={})
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    with surveyed(given) as ground:
        stages = [one.stage for one in estimates(ground)]
    assert [one["stage"] for one in answer["estimates"]] == stages
    assert "fill" in typed(["plan"], folder=tmp_path, environment={}).stdout
    assert "BEGIN IMMEDIATE" in typed(["plan", "--sql"], folder=tmp_path, environment={}).stdout
    assert path.exists()
