"""CREATE TABLE statements, read and written with other keys."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sql.sqlite.definition import Reference, read
from sql.sqlite.index_definition import index_parts, renamed_index, widened_index
from sql.sqlite.redefinition import bare, named, rewritten, with_column
from sql.sqlite.words import words

_NAMES = ("id", '"odd ""name"', "[order]", "`key`", "slug", "größe", '"a,b)"')
_TYPES = ("", "TEXT", "INTEGER", "REAL", "BLOB", "VARCHAR(10, 2)")
_NULLABLE = ("", " NOT NULL", " /* PRIMARY KEY */ NOT NULL ON CONFLICT FAIL")
_DEFAULTS = ("", " DEFAULT 'x, UNIQUE (y)'", " DEFAULT (1 + 2)", " DEFAULT NULL", " DEFAULT -1")
_COLLATIONS = ("", " COLLATE NOCASE", " collate rtrim")
_CONFLICTS = ("", " ON CONFLICT REPLACE", " on conflict ignore")
_ACTIONS = (
    "",
    " ON DELETE CASCADE",
    " ON UPDATE CASCADE ON DELETE RESTRICT",
    " MATCH FULL ON DELETE NO ACTION",
)
_DEFERRALS = ("", " DEFERRABLE INITIALLY DEFERRED", " NOT DEFERRABLE")
_BLANKS = (" ", "\n  ", " -- it's, a (comment\n", "/* , */")


@dataclass(frozen=True)
class Case:
    """A definition; `key` are its key's columns, and `references` those of foreign keys."""

    statement: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    counts: bool
    references: tuple[str, ...]
    unique: tuple[str, ...]


def _plain(name: str) -> str:
    (word,) = words(name)
    return word.named


@st.composite
def cases(draw: st.DrawFn) -> Case:  # noqa: C901  # each kind of constraint
    """Draw a definition that SQLite takes."""

    def choose(*options: Any) -> Any:
        return draw(st.sampled_from(options))

    names = draw(st.lists(st.sampled_from(_NAMES), min_size=2, max_size=5, unique=True))
    keyed = choose("column", "table", "counting")
    label = choose("", 'CONSTRAINT "the key" ', "constraint k ")
    items, constraints, references, unique = [], [], [], []
    for at, name in enumerate(names):
        type_ = "INTEGER" if keyed == "counting" and at == 0 else choose(*_TYPES)
        parts = [choose(*_NULLABLE), choose(*_COLLATIONS), choose(*_DEFAULTS)]
        if at == 0 and keyed == "column" and type_ != "INTEGER":
            parts.append(f" {label}PRIMARY KEY{choose('', ' ASC', ' DESC')}{choose(*_CONFLICTS)}")
        elif at == 0 and keyed == "counting":
            parts.append(f" {label}PRIMARY KEY{choose('', ' AUTOINCREMENT')}")
        elif at == 0:
            constraints.append(
                f"{label}PRIMARY KEY{choose('', ' ')}({name}{choose('', ' DESC')}){choose(*_CONFLICTS)}"
            )
        elif choose(True, False):
            references.append(name)
            action, deferral = choose(*_ACTIONS), choose(*_DEFERRALS)
            target = choose("parent", "parent(id)", 'parent ( "id" )')
            if choose(True, False):
                parts.append(f" REFERENCES {target}{action}{deferral}")
            else:
                constraints.append(f"FOREIGN KEY ({name}) REFERENCES {target}{action}{deferral}")
        elif choose(True, False):
            unique.append(name)
            conflict = choose(*_CONFLICTS)
            if choose(True, False):
                parts.append(f" UNIQUE{conflict}")
            else:
                constraints.append(f"CONSTRAINT u{at} UNIQUE ({name}){conflict}")
        order = draw(st.permutations(parts))
        items.append(f"{name} {type_}{''.join(order)}")
    if choose(True, False):
        items.append(f"made AS (({names[0]} || ','))")
    constraints = draw(st.permutations(constraints))
    separators = [choose(", ", " ", ",\n") for _ in constraints]
    body = f",{choose(*_BLANKS)}".join(items)
    for at, one in enumerate(constraints):
        body += (", " if at == 0 else separators[at]) + one
    statement = f"CREATE TABLE {choose('t', '[odd t]')}{choose('', ' ')}({body}{choose(*_BLANKS)})"
    first = _plain(names[0])
    alias = keyed == "counting" or (items[0].removeprefix(names[0]).split()[:1] == ["INTEGER"])
    return Case(
        statement,
        tuple(map(_plain, names)),
        (first,),
        alias,
        tuple(map(_plain, references)),
        tuple(map(_plain, unique)),
    )


def _facts(statement: str) -> dict[str, Any]:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(statement)
        (table,) = memory.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'"
        ).fetchone()
        keys: dict[int, list[tuple[Any, ...]]] = {}
        for number, _, *rest in memory.execute(
            'SELECT id, seq, "table", "from", "to", on_update, on_delete, "match" '
            "FROM pragma_foreign_key_list(?) ORDER BY id, seq",
            (table,),
        ):
            keys.setdefault(number, []).append(tuple(rest))
        indexes = []
        for name, unique in memory.execute(
            'SELECT name, "unique" FROM pragma_index_list(?)', (table,)
        ).fetchall():
            parts = memory.execute('SELECT name, coll, "desc" FROM pragma_index_xinfo(?) WHERE key', (name,))
            indexes.append((unique, tuple(parts.fetchall())))
        return {
            "columns": memory.execute(
                'SELECT name, type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(?)', (table,)
            ).fetchall(),
            "key": [
                row[0]
                for row in memory.execute(
                    "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk", (table,)
                )
            ],
            "foreign keys": sorted(map(tuple, keys.values())),
            "indexes": sorted(indexes),
        }


@given(cases())
def test_a_definition_is_cut_up_without_losing_a_byte(case: Case) -> None:
    table = read(case.statement)
    between = "".join(word.text for word in table.words[table.opened + 1 : table.closed])
    assert table.head + between + ")" + table.tail == case.statement
    assert table.columns[: len(case.columns)] == case.columns


@given(cases())
def test_of_the_facts_of_a_table_only_those_change_that_are_meant_to(case: Case) -> None:
    before = with_column(case.statement, '"tenant_id" TEXT')
    was = _facts(before)
    after = rewritten(
        before,
        tenant="tenant_id",
        key=None if case.counts else (*case.key, "tenant_id"),
        unique=[(name,) for name in case.unique],
        references=lambda _target, _columns: Reference(("id",), "tenant_id"),
        added=[f'UNIQUE ("{case.key[0].replace(chr(34), chr(34) * 2)}", tenant_id)'] if case.counts else [],
    )
    now = _facts(after)
    assert now["columns"] == was["columns"]
    assert now["key"] == ([*case.key] if case.counts else [*case.key, "tenant_id"])
    wide = []
    for key in was["foreign keys"]:
        ((target, column, _, *rest),) = key
        wide.append(((target, column, "id", *rest), (target, "tenant_id", "tenant_id", *rest)))
    assert now["foreign keys"] == sorted(wide)
    tenant = ("tenant_id", "BINARY", 0)
    widened = [(unique, (*parts, tenant)) for unique, parts in was["indexes"]]
    counted = [(1, ((case.key[0], _collation(was, before, case.key[0]), 0), tenant))] if case.counts else []
    assert now["indexes"] == sorted([*widened, *counted])


def _collation(_was: dict[str, Any], statement: str, column: str) -> str:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(named(statement, "t"))
        memory.execute(f'CREATE INDEX i ON t ("{column.replace(chr(34), chr(34) * 2)}")')
        (found,) = memory.execute("SELECT coll FROM pragma_index_xinfo('i') WHERE key").fetchone()
        return str(found)


@given(cases())
def test_a_bare_table_has_the_same_columns_and_nothing_that_leads_elsewhere(case: Case) -> None:
    was, now = _facts(case.statement), _facts(bare(case.statement, "other", keep_key=case.counts))
    assert now["columns"] == was["columns"]
    assert now["key"] == ([*case.key] if case.counts else [])
    assert not now["foreign keys"]
    assert not now["indexes"]


@given(cases())
def test_a_column_is_added_where_alter_table_adds_it(case: Case) -> None:
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(case.statement)
        where = "FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence'"
        (table,) = memory.execute(f"SELECT name {where}").fetchone()
        (kept,) = memory.execute(f"SELECT sql {where}").fetchone()
        memory.execute(f'ALTER TABLE "{table}" ADD COLUMN "tenant_id" TEXT')
        assert with_column(kept, '"tenant_id" TEXT') == memory.execute(f"SELECT sql {where}").fetchone()[0]


@pytest.mark.parametrize(
    ("statement", "renamed", "widened", "parts"),
    [
        (
            "CREATE UNIQUE INDEX [i j] ON `t`(lower(a), b DESC) WHERE a > 1 -- end",
            'CREATE UNIQUE INDEX "n" ON "o"(lower(a), b DESC) WHERE a > 1 -- end',
            'CREATE UNIQUE INDEX [i j] ON `t`(lower(a), b DESC, "tenant") WHERE a > 1 -- end',
            (("lower(a)", "b"), "a > 1"),
        ),
        (
            "CREATE INDEX i ON t (a COLLATE nocase /* , */)",
            'CREATE INDEX "n" ON "o" (a COLLATE nocase /* , */)',
            'CREATE INDEX i ON t (a COLLATE nocase, "tenant" /* , */)',
            (("a COLLATE nocase",), ""),
        ),
    ],
)
def test_an_index_is_renamed_and_widened_and_read(
    statement: str, renamed: str, widened: str, parts: tuple[tuple[str, ...], str]
) -> None:
    assert renamed_index(statement, "n", "o") == renamed
    assert widened_index(statement, "tenant") == widened
    assert index_parts(statement) == parts
