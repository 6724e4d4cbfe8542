"""A record of the ledger that is none ends in one line that names its column; schema and rows stay."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from control.demo.show_file import plan_for
from control.plan.writing import toml
from tests.integration.sqlite.conftest import make_graph
from tests.integration.typist import typed

_WRONG = (
    ("migrations", "original", "{", "`original` of "),
    ("migrations", "original", "[]", "migrations.original of "),
    ("migrations", "original", '{"tables": {"graph_entities": 7}}', "(tables.graph_entities: "),
    ("migrations", "settings", '{"target": "x"}', "(target: "),
    ("migrations", "settings", "nonsense", "settings` of "),
    ("migrations", "tuned", "[]", "migrations.tuned of "),
    ("migrations", "tables", '{"a": 1}', "migrations.tables of "),
    ("migrations", "started_at", "yesterday", "`started_at` of "),
    ("migrations", "memory", '{"plan": []}', "migrations.memory (plan)"),
    ("migrations", "memory", "{", "migrations.memory of "),
    ("migrations", "held", "{", "held"),
    ("jobs", "spec", "{}", "jobs.spec (job 1)"),
    ("jobs", "spec", "'", "`spec`"),
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plan, and a file that is filled."""
    folder = tmp_path_factory.mktemp("begun")
    make_graph(folder / "graph.db")
    (folder / "migration.toml").write_text(toml(plan_for(Path("graph.db"))))
    ended = typed(("run", "--to", "backfill", "--no-throttle"), folder=folder, environment=os.environ)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.parametrize(("table", "column", "value", "place"), _WRONG)
def test_a_garbled_record_is_named_and_nothing_is_changed(
    begun: Path, table: str, column: str, value: str, place: str
) -> None:
    def put(given: object) -> None:
        with closing(sqlite3.connect(begun / "graph.db", isolation_level=None)) as file:
            file.execute(f"UPDATE tenantry_{table} SET {column} = ? WHERE id = 1", (given,))

    def dump() -> list[str]:
        with closing(sqlite3.connect(begun / "graph.db")) as file:
            return [line for line in file.iterdump() if not line.startswith('INSERT INTO "tenantry_')]

    with closing(sqlite3.connect(begun / "graph.db")) as file:
        ((was,),) = file.execute(f"SELECT {column} FROM tenantry_{table} WHERE id = 1").fetchall()
    put(value)
    try:
        garbled, named = dump(), False
        for command in (("status",), ("run",), ("check",), ("report",), ("tune", "workers=2"), ("verify",)):
            ended = typed(command, folder=begun, environment=os.environ)
            assert "TENANTRY_DEBUG" not in ended.stderr, (command, ended.stderr)
            assert "Traceback" not in ended.stderr, (command, ended.stderr)
            if ended.returncode == 1 and place in ended.stderr:
                (line,) = ended.stderr.splitlines()
                assert "can't be read" in line
                named = True
                assert dump() == garbled, command
        assert named, ended.stderr
    finally:
        put(was)
