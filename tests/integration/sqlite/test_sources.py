"""Whose a row of a SQLite file is: what a source says as SQL is what it says when asked row by row in Python.

By a batch, by the write guard as rows come in any order, and as what tells them changes.
"""

import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.plan.model import Plan
from control.sqlite import guard
from control.sqlite.jobs import job_spec
from sql.job import JobSpec, Range
from sql.sqlite import catalog
from sql.sqlite.batch import JobSQL
from sql.sqlite.connection import File
from sql.sqlite.pattern import fits
from sql.tenant_source import TenantSource
from tests.integration.worlds import (
    FOLDER,
    NOTE,
    ORG,
    PATTERN,
    TREE,
    WORLDS,
    Asked,
    World,
    sources,
    then,
)

_TABLES = """
CREATE TABLE orgs (id integer, tenant text);
CREATE TABLE folders (id integer PRIMARY KEY, above integer, org integer, note text);
CREATE TABLE files (id integer, folder integer, org integer, note text, PRIMARY KEY (id)) WITHOUT ROWID;
"""
_COLUMNS = {"orgs": ("id", "tenant"), "folders": ("id", "above", "org", "note")} | {
    "files": ("id", "folder", "org", "note")
}
_QUIET = [HealthCheck.function_scoped_fixture]


class Told(NamedTuple):
    """Where both tables' tenants come from, and what a row without one holds."""

    folders: TenantSource
    files: TenantSource
    sentinel: str

    @property
    def plan(self) -> Plan:
        """The plan of both tables."""
        named = (("folders", self.folders), ("files", self.files))
        return Plan.model_validate(
            {
                "name": "m",
                "database": {"url": "sqlite:///sources.db"},
                "tenant": {"pattern": PATTERN, "sentinel": self.sentinel},
                "tables": [
                    {"name": name, "tenant": source.model_dump(exclude_none=True)} for name, source in named
                ],
            }
        )


_TOLD = st.builds(
    Told, sources(TREE, NOTE, ORG), sources(FOLDER, NOTE, ORG), st.sampled_from(["null", "", "none"])
)


def rows_of(world: World) -> list[tuple[str, tuple[object, ...]]]:
    """Every row of a world, with its table."""
    return [
        *(("orgs", row) for row in world.orgs.items()),
        *(("folders", (key, *row)) for key, row in world.folders.items()),
        *(("files", (key, *row)) for key, row in world.files.items()),
    ]


def insert(file: File, table: str, row: tuple[object, ...]) -> None:
    """Write a row as code does that doesn't know the tenant column."""
    columns = ", ".join(_COLUMNS[table])
    file.execute(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(row))})", row)


@pytest.fixture
def file(tmp_path: Path) -> File:
    """A file without a table."""
    path = tmp_path / "sources.db"
    path.touch()
    opened = File(path)
    opened.rows("PRAGMA synchronous = OFF")
    opened.rows("PRAGMA journal_mode = MEMORY")
    return opened


def begun(file: File, plan: Plan) -> dict[str, JobSpec]:
    """Make the tables anew, with their tenant column; their jobs."""
    for name in ("orgs", "folders", "files", "tenantry_guard"):
        file.execute(f"DROP TABLE IF EXISTS {name}")
    file.raw.executescript(_TABLES)
    original = catalog.read(file)
    sentinel = plan.tenant.sentinel_value
    default = "" if sentinel is None else f" NOT NULL DEFAULT '{sentinel}'"
    for name in ("folders", "files"):
        file.execute(f"ALTER TABLE {name} ADD COLUMN tenant_id TEXT{default}")
    for step in guard.put(plan, original):
        for statement in step.statements:
            file.execute(statement)
    return {table.name: job_spec(plan, table, original.table(table.name), file)[0] for table in plan.tables}


def without_guard(file: File) -> None:
    """Drop every trigger."""
    for row in file.rows("SELECT name FROM sqlite_schema WHERE type = 'trigger'"):
        file.execute(f'DROP TRIGGER "{row["name"]}"')


def fill(file: File, spec: JobSpec) -> int:
    """Fill a table by one batch over all of it; the rows that it changed."""
    everything = Range(by="key", lower=None, upper=["9"], stripe=None)
    return file.execute(JobSQL(spec).fill(everything)).rowcount


def tenants(file: File, table: str, sentinel: str | None) -> dict[int, str]:
    """Whose each row is; the empty text where it is nobody's."""
    rows = file.rows(f"SELECT id, tenant_id FROM {table}")
    return {row["id"]: "" if row["tenant_id"] == sentinel else row["tenant_id"] for row in rows}


@given(WORLDS, _TOLD)
@settings(max_examples=60, suppress_health_check=_QUIET)
@example(
    # A chain of four, a circle of two with one below, and one that names itself.
    World(
        {},
        {
            1: (None, None, "acme"),
            2: (1, None, "umbra"),
            3: (2, None, None),
            4: (3, None, None),
            5: (6, None, "acme"),
            6: (5, None, "acme"),
            7: (6, None, "acme"),
            8: (8, None, "umbra"),
        },
        {1: (4, None, None), 2: (7, None, "acme"), 3: (None, None, "acme")},
    ),
    Told(then(TREE, NOTE), then(FOLDER, NOTE), "null"),
)
def test_a_batch_gives_every_row_what_its_source_says_and_changes_no_other(
    file: File, world: World, told: Told
) -> None:
    the_plan = told.plan
    specs = begun(file, the_plan)
    without_guard(file)
    for table, row in rows_of(world):
        insert(file, table, row)
    asked = Asked(world, {"folders": told.folders, "files": told.files})
    for table, spec in specs.items():
        expected = asked.of(table)
        assert fill(file, spec) == sum(tenant != "" for tenant in expected.values())
        assert tenants(file, table, the_plan.tenant.sentinel_value) == expected


@given(WORLDS, _TOLD, st.randoms())
@settings(max_examples=60, suppress_health_check=_QUIET)
def test_the_guard_and_a_sweep_give_rows_the_same_in_whatever_order_they_are_written(
    file: File,
    world: World,
    told: Told,
    chance: random.Random,
) -> None:
    the_plan = told.plan
    specs = begun(file, the_plan)
    rows = rows_of(world)
    chance.shuffle(rows)
    for table, row in rows:
        insert(file, table, row)
    for spec in specs.values():
        fill(file, spec)
    _same_where_told(file, the_plan, world)


def _same_where_told(file: File, the_plan: Plan, world: World) -> None:
    """Every row that is somebody's is whose it is; the guard takes no tenant away where nobody's is told."""
    asked = Asked(world, {table.name: table.tenant for table in the_plan.tables})
    for table in ("folders", "files"):
        found = tenants(file, table, the_plan.tenant.sentinel_value)
        told = {row: tenant for row, tenant in asked.of(table).items() if tenant}
        assert {row: found[row] for row in told} == told


_PLACES = st.none() | st.integers(1, 6)
_ROWS = st.tuples(_PLACES, st.integers(1, 2), st.sampled_from(["acme", "umbra", "has space"]))
_ALL_ROWS = st.tuples(*[_ROWS] * 6).map(lambda rows: dict(enumerate(rows, 1)))
_FULL = st.builds(
    World, st.fixed_dictionaries({1: st.just("org1"), 2: st.just("org2")}), _ALL_ROWS, _ALL_ROWS
)
_CHANGES = st.lists(
    st.tuples(st.sampled_from(["folders", "folders", "files"]), st.integers(1, 7), _ROWS)
    | st.tuples(st.just("orgs"), st.integers(1, 3), st.sampled_from(["org1", "org2", "org3"])),
    max_size=4,
)
_TREES = st.builds(
    Told,
    st.sampled_from([then(TREE, NOTE), then(TREE, ORG), then(TREE, then(NOTE, "rest")), then(NOTE, ORG)]),
    st.sampled_from([then(FOLDER, NOTE), then(FOLDER, "rest"), then(ORG, FOLDER)]),
    st.sampled_from(["null", ""]),
)


@given(_FULL, _CHANGES, _TREES, st.sampled_from(["ON", "OFF"]))
@settings(max_examples=150, suppress_health_check=_QUIET)
@example(
    # The topmost of a chain gets another tenant, and a row above it; and a folder comes after its file.
    World(
        {1: "org1", 2: "org2"},
        {1: (None, 1, "acme"), 2: (1, 1, "acme"), 3: (2, 1, "acme"), 4: (3, 1, "acme")},
        {1: (4, 1, "acme"), 2: (5, 1, "umbra")},
    ),
    [
        ("folders", 1, (None, 1, "umbra")),
        ("folders", 1, (9, 1, "acme")),
        ("folders", 5, (None, 3, "acme")),
        ("orgs", 3, "org3"),
    ],
    Told(then(TREE, ORG), then(FOLDER, NOTE), "null"),
    "OFF",
)
@example(  # One that is above itself, and so told by `otherwise`.
    World({1: "org1"}, {1: (1, 1, "acme"), 2: (1, 1, "acme")}, {}),
    [("orgs", 1, "org2")],
    Told(then(TREE, ORG), then(FOLDER, NOTE), "null"),
    "ON",
)
@example(
    World({1: "org1"}, {1: (None, 1, "acme"), 2: (1, 1, "acme"), 3: (2, 1, "acme")}, {1: (3, 1, "acme")}),
    [("folders", 1, (None, 1, "umbra"))],
    Told(then(TREE, NOTE), then(FOLDER, NOTE), ""),
    "OFF",
)
def test_rows_follow_what_tells_their_tenant_whatever_old_code_changes(
    file: File, before: World, changes: list[tuple[str, int, Any]], told: Told, recursive: str
) -> None:
    the_plan = told.plan
    specs = begun(file, the_plan)
    file.execute(f"PRAGMA recursive_triggers = {recursive}")
    for table, row in rows_of(before):
        insert(file, table, row)
    for spec in specs.values():
        fill(file, spec)
    world = World(dict(before.orgs), dict(before.folders), dict(before.files))
    for table, key, row in changes:
        values = row if isinstance(row, tuple) else (row,)
        if key in getattr(world, table):
            assigned = ", ".join(f"{name} = ?" for name in _COLUMNS[table][1:])
            file.execute(f"UPDATE {table} SET {assigned} WHERE id = ?", (*values, key))
        else:
            insert(file, table, (key, *values))
        getattr(world, table)[key] = row
    for spec in specs.values():
        fill(file, spec)
    _same_where_told(file, the_plan, world)


_CHARACTERS = st.characters(codec="utf-8", exclude_characters="\n")


@given(
    st.text(st.sampled_from("aZ5_-]^*?. \0ü") | _CHARACTERS, max_size=6),
    st.sampled_from(["[a-z]", "[A-Za-z0-9_-]", "[^a-z]", "[-a]", "[a*?]", "[ü^]", "."]),
    st.sampled_from(["+", "*", "{2}", "{1,}", "{0,3}", "{2,4}"]),
)
@settings(max_examples=300)
def test_a_pattern_of_one_class_lets_the_same_texts_pass_as_the_regular_expression(
    text: str, letters: str, many: str
) -> None:
    asked = fits("?1", f"^{letters}{many}$")
    assert asked is not None
    with closing(sqlite3.connect(":memory:")) as connection:
        (found,) = connection.execute(f"SELECT {asked}", (text,)).fetchone()
    assert bool(found) == (re.fullmatch(f"{letters}{many}", text, re.DOTALL) is not None and "\0" not in text)
