"""What an application writes while tables are made anew is in them, however it writes it."""

import sqlite3
import tempfile
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.sqlite import conductor
from control.sqlite.conductor import ground_of
from control.sqlite.rebuild import checking, copying, indexing
from control.sqlite.rebuild.making import Making, begin, making
from control.sqlite.rebuild.pacing import Pace
from control.sqlite.rebuild.sides import sides
from control.sqlite.rebuild.switching import switch
from sql.sqlite import catalog
from sql.sqlite.connection import File
from tests.integration.sqlite.keyed import MEMORY, World, world
from worker import ledger

SCHEMA = """
CREATE TABLE things (id TEXT PRIMARY KEY, slug TEXT COLLATE NOCASE UNIQUE, n INTEGER,
    touched INTEGER DEFAULT 0, place TEXT NOT NULL DEFAULT "first", UNIQUE (place, n));
CREATE UNIQUE INDEX things_n ON things (n + 1) WHERE n > 3;
CREATE TRIGGER things_touched AFTER UPDATE OF n ON things
    BEGIN UPDATE things SET touched = touched + 1 WHERE id = NEW.id; END;
CREATE TABLE keyed (a TEXT, b TEXT, note TEXT,
    thing TEXT REFERENCES things ON DELETE CASCADE ON UPDATE CASCADE,
    PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE INDEX keyed_note ON keyed (note DESC);
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT,
    thing TEXT REFERENCES things (id) ON DELETE CASCADE,
    twice AS (id * 2) STORED);
"""

TABLES = "".join(
    f"""
[[tables]]
name = "{name}"
tenant = {{ constant = "acme" }}
indexes = [{{ name = "{name}_tenant", columns = ["tenant_id"] }}]
primary_key = [{key}, "tenant_id"]
"""
    for name, key in (("things", '"id"'), ("keyed", '"a", "b"'), ("counted", '"id"'))
)

_ID = st.sampled_from(["'a'", "'b'", "'c'", "'d'", "NULL"])
_SLUG = st.sampled_from(["'x'", "'X'", "'y'", "'z'", "NULL"])
_N = st.integers(0, 8).map(str)
_OR = st.sampled_from(["", "OR REPLACE", "OR IGNORE", "OR FAIL", "OR ROLLBACK"])

STATEMENTS = st.one_of(
    st.builds("INSERT {} INTO things (id, slug, n) VALUES ({}, {}, {})".format, _OR, _ID, _SLUG, _N),
    st.builds(
        "INSERT INTO things (id, slug, n) VALUES ({}, {}, {}) "
        "ON CONFLICT DO UPDATE SET n = {}, slug = {}".format,
        _ID,
        _SLUG,
        _N,
        _N,
        _SLUG,
    ),
    st.builds("UPDATE {} things SET n = {}, slug = {} WHERE id = {}".format, _OR, _N, _SLUG, _ID),
    st.builds("UPDATE {} things SET place = NULL WHERE id = {}".format, _OR, _ID),
    st.builds("UPDATE {} things SET place = id WHERE n = {}".format, _OR, _N),
    st.builds("UPDATE {} things SET id = {} WHERE n = {}".format, _OR, _ID, _N),
    st.builds("UPDATE {} things SET rowid = {} WHERE id = {}".format, _OR, _N, _ID),
    st.builds("DELETE FROM things WHERE id = {}".format, _ID),
    st.builds(
        "INSERT {} INTO keyed (a, b, note, thing) VALUES ({}, {}, {}, {})".format, _OR, _ID, _SLUG, _N, _ID
    ),
    st.builds("UPDATE {} keyed SET a = {}, note = {} WHERE b = {}".format, _OR, _ID, _N, _SLUG),
    st.builds("DELETE FROM keyed WHERE a = {}".format, _ID),
    st.builds("INSERT {} INTO counted (id, thing) VALUES ({}, {})".format, _OR, _N, _ID),
    st.builds("UPDATE {} counted SET id = {} WHERE thing = {}".format, _OR, _N, _ID),
    st.just("DELETE FROM counted"),
    st.builds(
        "INSERT {} INTO things (id, slug, n, tenant_id) VALUES ({}, {}, {}, 'other')".format,
        _OR,
        _ID,
        _SLUG,
        _N,
    ),
)


def _write(there: World, statements: list[str], *, recursive: bool) -> None:
    """Try each; one that breaks a rule of the tables themselves is the application's own affair."""
    with closing(there.connect()) as opened:
        opened.execute(f"PRAGMA recursive_triggers = {recursive}")
        for statement in statements:
            with suppress(sqlite3.IntegrityError):
                opened.execute(statement)


def _two_rows(file: File, one: Making, _size: int) -> int:
    return copying.catch_up(file, one, 2)


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@example(  # the same key in another tenant takes the place of the first, and no trigger says so
    writes=[
        ["INSERT INTO things (id, slug, n) VALUES ('a', 'x', 1)"],
        [],
        [],
        ["INSERT OR REPLACE INTO things (id, slug, n, tenant_id) VALUES ('a', 'y', 1, 'other')"],
        [],
    ],
    recursive=False,
    sorted_=False,
)
@example(  # REPLACE puts the default in the place of a NULL, and then a row is in its way
    writes=[
        [
            f"INSERT INTO things (id, n, place) VALUES ('{one}', 1, '{at}')"
            for one, at in (("a", "first"), ("b", "x"))
        ],
        [],
        [],
        [],
        ["UPDATE OR REPLACE things SET place = NULL WHERE id = 'b'"],
    ],
    recursive=False,
    sorted_=False,
)
@given(
    writes=st.lists(st.lists(STATEMENTS, max_size=12), min_size=5, max_size=5),
    recursive=st.booleans(),
    sorted_=st.booleans(),
)
def test_whatever_is_written_at_whatever_moment_is_in_the_new_table(  # noqa: C901  # one moment each
    *, writes: list[list[str]], recursive: bool, sorted_: bool, back: bool
) -> None:
    if back:  # one key in two tenants is what there is no way back from
        writes = [[one for one in some if "tenant_id" not in one] for some in writes]
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        there = world(Path(folder), SCHEMA, TABLES)
        _write(there, [one for one in writes[0] if "tenant_id" not in one], recursive=recursive)
        there.fill()
        if back:
            there.run("keys")
        with conductor.controller(there.plan) as file:
            ground = ground_of(there.plan, file, ledger.read(file, there.plan.name), lambda _line: None)
            both = sides(there.plan, catalog.read(file))
            if back:
                both = both.model_validate(ground.memory.recall("keys"))
            group = [making(file, one.back if back else one, migration=1, back=back) for one in both.tables]
            assert len(group) == 3
            pace = Pace(ground, "keys")
            with file.transaction():
                for one in group:
                    begin(file, one)
                    copying.record(ground, one)
            _write(there, writes[1], recursive=recursive)
            for one in group:
                copying.fill(ground, one, pace)
            _write(there, writes[2], recursive=recursive)
            kept = indexing.AT_ONCE
            indexing.AT_ONCE = -1 if sorted_ else kept
            for one in group:
                with file.transaction():
                    copying.catch_up(file, one, -1)
                indexing.build(ground, one, pace)
            indexing.AT_ONCE = kept
            _write(there, writes[3], recursive=recursive)
            for one in group:
                while copying.pending(file, one):
                    pace.batch("again", partial(_two_rows, file, one))
            with file.snapshot():
                for one in group:
                    checking.compare(file, one, noted=False)
                    checking.integrity(file, one.new)
            _write(there, writes[4], recursive=recursive)
            rows = {one.name: there.ask(f'SELECT *, {one.was.rowid or 0} FROM "{one.name}"') for one in group}
            with file.transaction():
                for one in group:
                    copying.catch_up(file, one, 1_000, last=True)
                switch(file, group, [pin.back if back else pin for pin in both.pins])
        assert there.ask("PRAGMA integrity_check") == [("ok",)]
        for name, were in rows.items():
            assert sorted(map(repr, were)) == sorted(
                map(repr, there.ask(f'SELECT *, {0 if name == "keyed" else "rowid"} FROM "{name}"'))
            )
