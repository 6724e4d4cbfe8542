"""Files with schemas and rows as hypothesis draws them, each with a plan that fits it."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.integration.sqlite.contents import quoted

#: Where triggers of a random table write; no part of the plan.
_LOG = "CREATE TABLE log (what TEXT, which)"
_ORGS = ("red", "blue", "gree-n", None)


@dataclass(frozen=True)
class RandomFile:
    """Statements that make a file, then those that fill it, with their values; and a plan for it."""

    schema: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Any, ...]], ...]
    tables: tuple[Mapping[str, Any], ...]

    def made(self, path: Path) -> Path:
        """Make the file."""
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # only to make it
            for statement in self.schema:
                connection.execute(statement)
            connection.execute("BEGIN")
            for statement, values in self.rows:
                connection.execute(statement, values)
            connection.execute("COMMIT")
        return path

    def plan(self, path: Path) -> dict[str, Any]:
        """The plan, as `Plan.model_validate` takes it."""
        return {
            "name": "random",
            "database": {"url": f"sqlite:///{path}"},
            "backfill": {"first_batch": 100},
            "verify": {"quiet": "1ms"},
            "tables": list(self.tables),
        }


@dataclass(frozen=True)
class _Key:
    """A table's primary key: its columns as declared, and how a row's number becomes their values."""

    columns: tuple[tuple[str, str], ...]
    constraint: str = ""
    options: str = ""

    def values(self, number: int) -> tuple[Any, ...]:
        return tuple(
            f"k {number}" if declared.startswith("TEXT") else number // (1 + at)
            for at, (_, declared) in enumerate(self.columns)
        )


@dataclass(frozen=True)
class _Table:
    name: str
    key: _Key
    count: int


_LETTERS = st.sampled_from(list("abI9 é'\"[]`%{}:;-,.()\n\\"))
_NAMES = st.text(_LETTERS, max_size=4)
_SPACES = st.sampled_from([" ", "  ", "\n  ", " /* a, (b) */ ", " -- c, \"d'\n "])
_STRICT = ("INTEGER", "REAL", "TEXT", "BLOB", "ANY")
_LOOSE = ("", "INT", "VARCHAR(10)", "NUMERIC", "BLOB", "TEXT", "DOUBLE PRECISION")
_VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "INTEGER": st.integers(-(2**63), 2**63 - 1),
    "REAL": st.floats(allow_nan=False),
    "TEXT": st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    "BLOB": st.binary(max_size=5),
}
_ANY = st.one_of(*_VALUES.values(), st.none())


@st.composite
def random_files(draw: st.DrawFn) -> RandomFile:
    """One to three tables, of which each after the first may have the one before as its parent."""
    schema, rows, plan = [_LOG], [], []
    before: _Table | None = None
    for at in range(draw(st.integers(1, 3))):
        made = draw(_tables(at, before))
        schema += made[1]
        rows += made[2]
        plan.append(made[3])
        before = made[0]
    return RandomFile(tuple(schema), tuple(rows), tuple(plan))


@st.composite
def _keys(draw: st.DrawFn, at: int) -> _Key:
    first, second = (f"{letter}{at}{draw(_NAMES)}" for letter in "kl")
    kind = draw(st.sampled_from(["text", "integer", "auto", "composite", "without rowid", "strict", "none"]))
    both = f"PRIMARY KEY ({quoted(first)}, {quoted(second)} DESC)"
    return {
        "text": _Key(((first, "TEXT PRIMARY KEY"),)),
        "integer": _Key(((first, "INTEGER PRIMARY KEY"),)),
        "auto": _Key(((first, "INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL"),)),
        "composite": _Key(((first, "TEXT NOT NULL"), (second, "INT")), both),
        "without rowid": _Key(((first, "TEXT COLLATE NOCASE"), (second, "INT")), both, " WITHOUT ROWID"),
        "strict": _Key(((first, "TEXT NOT NULL"), (second, "INTEGER NOT NULL")), both, " STRICT"),
        "none": _Key(((first, "TEXT"), (second, "INT"))),
    }[kind]


@st.composite
def _tables(
    draw: st.DrawFn, at: int, parent: _Table | None
) -> tuple[_Table, list[str], list[tuple[str, tuple[Any, ...]]], dict[str, Any]]:
    # A dot has a meaning in a plan's name of a table.
    name = f"t{at}{draw(_NAMES)}".replace(".", "")
    key: _Key = draw(_keys(at))
    keyed = bool(key.constraint) or "PRIMARY" in key.columns[0][1]
    table = _Table(name, key, draw(st.integers(0, 9)))
    strict = "STRICT" in key.options
    types = draw(st.lists(st.sampled_from(_STRICT if strict else _LOOSE), max_size=3))
    others = [f"c{at}{number}{draw(_NAMES)}" for number in range(len(types))]
    nullable = [draw(st.booleans()) for _ in types]
    child = parent if parent is not None and parent.count and draw(st.booleans()) else None
    if child is not None and not (child.key.constraint or "PRIMARY" in child.key.columns[0][1]):
        child = None
    references = [] if child is None else [f"r{at}{number}" for number in range(len(child.key.columns))]

    columns = [f"{quoted(column)}{draw(_SPACES)}{declared}" for column, declared in key.columns]
    for column, kind, free in zip(others, types, nullable, strict=True):
        default = draw(st.sampled_from(["", " DEFAULT 7", " DEFAULT (1 + 2)"])) if not strict else ""
        collated = draw(st.sampled_from(["", " COLLATE NOCASE", " COLLATE RTRIM"]))
        check = draw(st.sampled_from(["", f" CHECK ({quoted(column)} IS NOT 'never, (')"]))
        columns.append(
            f"{quoted(column)}{draw(_SPACES)}{kind}{'' if free else ' NOT NULL'}{default}{collated}{check}"
        )
    columns += [
        f"{quoted(column)} {_plain(declared)}" for column, declared in _referencing(references, child)
    ]
    columns.append("org TEXT")
    if draw(st.booleans()):
        stored = draw(st.sampled_from(["STORED", "VIRTUAL"]))
        columns.append(f"g{at} TEXT GENERATED ALWAYS AS (upper(org)) {stored}")
    if key.constraint:
        columns.append(key.constraint)
    if child is not None:
        targets = ", ".join(quoted(column) for column, _ in child.key.columns)
        implied = draw(st.booleans())
        columns.append(
            f"FOREIGN KEY ({', '.join(map(quoted, references))}) REFERENCES {quoted(child.name)}"
            f"{'' if implied else f' ({targets})'} ON DELETE CASCADE"
        )
    separator = f",{draw(_SPACES)}"
    schema = [f"CREATE TABLE{draw(_SPACES)}{quoted(name)} ({separator.join(columns)}){key.options}"]
    schema += draw(_around(name, at, [key.columns[0][0], *others]))

    names = [*(column for column, _ in key.columns), *others, *references, "org"]
    statement = (
        f"INSERT INTO {quoted(name)} ({', '.join(map(quoted, names))}) "
        f"VALUES ({', '.join('?' for _ in names)})"
    )
    rows = []
    for number in range(1, table.count + 1):
        cells = [draw(_value(kind, free=free)) for kind, free in zip(types, nullable, strict=True)]
        up: tuple[Any, ...] = ()
        if child is not None:
            up = child.key.values(draw(st.integers(1, child.count)))
        rows.append((statement, (*key.values(number), *cells, *up, draw(st.sampled_from(_ORGS)))))
    plan: dict[str, Any] = {
        "name": name,
        "tenant": {"expression": "org", "otherwise": "nobody"}
        if child is None
        else {
            "parent": child.name,
            "on": dict(zip(references, (column for column, _ in child.key.columns), strict=True)),
        },
        "indexes": [{"name": f"i{at}{draw(_NAMES)}", "columns": ["tenant_id", key.columns[0][0]]}],
    }
    if keyed and draw(st.booleans()):
        plan["primary_key"] = [*(column for column, _ in key.columns), "tenant_id"]
    return table, schema, rows, plan


def _referencing(references: Sequence[str], parent: _Table | None) -> list[tuple[str, str]]:
    declared = () if parent is None else tuple(each for _, each in parent.key.columns)
    return list(zip(references, declared, strict=True))


def _plain(declared: str) -> str:
    return "TEXT" if declared.startswith("TEXT") else "INTEGER"


@st.composite
def _around(draw: st.DrawFn, name: str, at: int, columns: Sequence[str]) -> list[str]:
    """Indexes, triggers and a view of a table, any of them or none."""
    column = quoted(draw(st.sampled_from(columns)))
    table = quoted(name)
    index, trigger, view = (quoted(f"{letter}{at}{draw(_NAMES)}") for letter in "xwq")
    log = "BEGIN INSERT INTO log VALUES"
    every = [
        f"CREATE INDEX {index}{draw(_SPACES)}ON {table} ({column} DESC)",
        f"CREATE INDEX y{at} ON {table} (org COLLATE NOCASE) WHERE {column} IS NOT NULL",
        f"CREATE INDEX z{at} ON {table} (lower(org), typeof({column}))",
        f"CREATE TRIGGER v{at} AFTER INSERT ON {table} {log} ('in', new.{column}); END",
        f"CREATE TRIGGER {trigger} AFTER UPDATE OF org ON {table} {log} ('up', new.{column}); END",
        f"CREATE TRIGGER u{at} BEFORE DELETE ON {table} {log} ('out', old.org); END",
        f"CREATE VIEW {view} AS SELECT * FROM {table} WHERE {column} IS NOT NULL",
        f"CREATE VIEW p{at} AS SELECT org, count(*) AS many FROM {table} GROUP BY org",
    ]
    return [statement for statement in every if draw(st.booleans())]


@st.composite
def _value(draw: st.DrawFn, kind: str, *, free: bool) -> Any:
    if free and draw(st.booleans()):
        return None
    return draw(_VALUES.get(kind, _ANY.filter(lambda value: value is not None)))
