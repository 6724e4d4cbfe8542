"""Whatever a file's tables look like: keys with the tenant in them, and back to what was there."""

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.sqlite.keyed import MEMORY, World, ways, world

_VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.binary(max_size=8),
)

_INTO_CHILD = (
    "INSERT OR IGNORE INTO child (n, up, v) SELECT ?, (SELECT id FROM [the parents] WHERE id = ?), ?"
)
#: A value byte for byte: a text that is made of a blob is no UTF-8.
_SHOWN = """typeof("{name}"), iif(typeof("{name}") = 'real', quote("{name}"), hex("{name}"))"""


@dataclass(frozen=True)
class Schema:
    """Statements, the plan's tables, and rows."""

    statements: tuple[str, ...]
    tables: str
    rows: tuple[tuple[str, tuple[Any, ...]], ...]
    strict: bool


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Draw two tables of the plan, parent and child, one outside, and what hangs on them."""

    def choose(*options: Any) -> Any:
        return draw(st.sampled_from(options))

    tail = choose("", " WITHOUT ROWID", " STRICT", " STRICT, WITHOUT ROWID")
    strict = "STRICT" in tail
    any_ = "ANY" if strict else choose("", "NUMERIC", "REAL", "TEXT", "BLOB")
    key = choose(
        "id TEXT PRIMARY KEY",
        "id TEXT CONSTRAINT k PRIMARY KEY DESC",
        "id TEXT COLLATE NOCASE NOT NULL PRIMARY KEY ON CONFLICT REPLACE",
        "id INTEGER PRIMARY KEY",
        *([] if "ROWID" in tail else ["id INTEGER PRIMARY KEY AUTOINCREMENT"]),
    )
    more = choose(
        "",
        ", CHECK (a IS NOT 'never') -- a comment, with a comma\n",
        ', made TEXT AS (id || typeof("a, b")) STORED',
        ", made TEXT GENERATED ALWAYS AS (upper(b)) VIRTUAL, UNIQUE (c, id)",
    )
    odd = f'"a, b" {any_} DEFAULT (1 + 1)'
    parent = (
        f"CREATE TABLE [the parents]({key}, a {any_}, b TEXT UNIQUE, c TEXT DEFAULT 'x', {odd}{more}){tail}"
    )
    refers = choose("REFERENCES [the parents]", 'REFERENCES "the parents" (id)')
    acts = choose("", " ON DELETE CASCADE", " ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED")
    kind = "INTEGER" if "INTEGER" in key else "TEXT"
    child = choose(
        f"CREATE TABLE child (n INTEGER PRIMARY KEY, up {kind} {refers}{acts}, v)",
        f"CREATE TABLE child (n INTEGER, up {kind}, v, PRIMARY KEY (n, v), FOREIGN KEY (up) {refers}{acts})",
        f"CREATE TABLE child (n INTEGER NOT NULL, v NOT NULL, up {kind} {refers}{acts}, "
        "PRIMARY KEY (v, n)) WITHOUT ROWID",
    )
    outside = choose("", f"CREATE TABLE outside (o {kind} {refers} ON DELETE SET NULL)")
    indexes = draw(
        st.lists(
            st.sampled_from(
                [
                    "CREATE INDEX i1 ON [the parents] (lower(b), a DESC) WHERE a IS NOT NULL",
                    'CREATE INDEX i2 ON "the parents" ("a, b" COLLATE rtrim)',
                    "CREATE UNIQUE INDEX i3 ON [the parents] (b COLLATE NOCASE, id)",
                    "CREATE UNIQUE INDEX i4 ON child (n, v DESC)",
                    "CREATE INDEX i5 ON child (up) WHERE v > 3",
                ]
            ),
            unique=True,
        )
    )
    others = draw(
        st.lists(
            st.sampled_from(
                [
                    "CREATE VIEW seen AS SELECT p.*, c.n FROM [the parents] AS p, child AS c WHERE up = p.id",
                    "CREATE TRIGGER t1 AFTER INSERT ON child BEGIN UPDATE child SET up = up; END",
                    "CREATE TRIGGER t2 BEFORE DELETE ON [the parents] BEGIN SELECT 1; END",
                ]
            ),
            unique=True,
        )
    )
    wide = "i4" if any("i4" in one for one in indexes) else None
    unique = f'unique = ["{wide}"]' if wide and choose(True, False) else ""
    tables = f"""
[[tables]]
name = "the parents"
tenant = {{ constant = "acme" }}
indexes = [{{ name = "the tenant's", columns = ["tenant_id", "a"] }}]
primary_key = {choose('["id", "tenant_id"]', '["tenant_id", "id"]')}
[[tables]]
name = "child"
tenant = {{ constant = "acme" }}
indexes = [{{ name = "child_tenant", columns = ["tenant_id"] }}]
{choose("", _key(child))}
{unique}
"""
    keys = draw(st.lists(st.integers(1, 40), unique=True, max_size=12))
    rows: list[tuple[str, tuple[Any, ...]]] = []
    for number in keys:
        own = number if kind == "INTEGER" else f"k{number}"
        c = draw(st.text(max_size=5))
        rows.append(
            (
                'INSERT OR IGNORE INTO "the parents" (id, a, b, c, "a, b") VALUES (?, ?, ?, ?, ?)',
                (own, draw(_VALUES), draw(st.none() | st.text(max_size=6)), c, draw(_VALUES)),
            )
        )
    for number in draw(st.lists(st.integers(1, 40), unique=True, max_size=12)):
        up = draw(st.none() | st.sampled_from(keys)) if keys else None
        rows.append(
            (
                _INTO_CHILD,
                (number, up if kind == "INTEGER" or up is None else f"k{up}", draw(_VALUES)),
            )
        )
    statements = [parent, child, outside, *draw(st.permutations([*indexes, *others]))]
    return Schema(tuple(filter(None, statements)), tables, tuple(rows), strict)


def _key(child: str) -> str:
    if "n INTEGER PRIMARY KEY" in child:
        return 'primary_key = ["n", "tenant_id"]'
    return 'primary_key = ["n", "v", "tenant_id"]'


def _rows(there: World) -> dict[str, list[str]]:
    found = {}
    for table in ("the parents", "child"):
        names = [
            name
            for (name,) in there.ask(f"SELECT name FROM pragma_table_xinfo('{table}')")
            if name != "tenant_id"
        ]
        columns = ", ".join(_SHOWN.format(name=name) for name in names)
        try:
            found[table] = sorted(map(repr, there.ask(f'SELECT rowid, {columns} FROM "{table}"')))
        except sqlite3.OperationalError:
            found[table] = sorted(map(repr, there.ask(f'SELECT {columns} FROM "{table}"')))
    return found


def _hanging(there: World) -> list[tuple[Any, ...]]:
    return [entry for entry in there.schema() if entry[0] in {"view", "trigger"}]


@pytest.mark.parametrize("online", [False, True], ids=["at once", "beside writers"])
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
@given(schema=schemas())
def test_rows_are_the_same_with_the_keys_and_after_the_way_back_and_so_is_the_schema_then(
    schema: Schema, *, online: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, ways(online=online):
        there = world(Path(folder), ";\n".join(schema.statements), schema.tables)
        with sqlite3.connect(there.path) as opened:
            for statement, values in schema.rows:
                try:
                    opened.execute(statement, values)
                except sqlite3.IntegrityError:  # a STRICT table's types, a key that is NULL
                    continue
        opened.close()
        before, rows, counted = there.schema(), _rows(there), _counted(there)
        there.fill()
        filled = there.schema()
        there.run("keys")
        assert _rows(there) == rows
        assert there.is_sound()
        assert _counted(there) == counted
        assert _hanging(there) == [entry for entry in filled if entry[0] in {"view", "trigger"}]
        assert "tenant_id" in [
            name
            for (name,) in there.ask(
                "SELECT x.name FROM pragma_index_list('the parents') AS l, pragma_index_xinfo(l.name) AS x "
                'WHERE l."unique" AND x.key'
            )
        ]
        assert not there.ours()
        there.rollback("application")
        assert there.schema() == filled
        assert there.is_sound()
        there.rollback()
        assert there.schema() == before
        assert _rows(there) == rows
        assert _counted(there) == counted


def _counted(there: World) -> list[tuple[Any, ...]]:
    if not there.ask("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"):
        return []
    return there.ask("SELECT name, seq FROM sqlite_sequence ORDER BY name")
