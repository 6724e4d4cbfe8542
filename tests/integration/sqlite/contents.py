"""What is in a file, to compare: its schema as text, and every row of every column."""

import hashlib
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

_OWN = ("sqlite_sequence", "sqlite_stat")


class Contents(NamedTuple):
    """The statements of `sqlite_schema`, and of each table how many rows there are and their checksum."""

    schema: tuple[tuple[str, str, str, str | None], ...]
    rows: dict[str, tuple[int, str]]


def contents(path: Path, columns: "Columns | None" = None) -> Contents:
    """All of it; of tables in `columns` only those columns' values, and their rowids."""
    with closing(sqlite3.connect(path)) as connection:
        schema = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema "
            "WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name"
        ).fetchall()
        every = columns_of(connection)
        return Contents(
            tuple(schema),
            {
                table: _checksum(connection, table, named)
                for table, named in (every if columns is None else columns).items()
            },
        )


#: Of each table the columns whose values count, with its rowid where it has one.
Columns = dict[str, tuple[str, ...]]


def columns_of(connection: sqlite3.Connection, but: Collection[str] = ()) -> Columns:
    """Every column of every table, generated ones and the rowid too, except tables `but`."""
    found: Columns = {}
    for name, without_rowid in connection.execute(
        "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    ).fetchall():
        if name.startswith(_OWN) or name == "sqlite_schema" or name in but:
            continue
        columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({quoted(name)})") if row[6] != 1]
        found[name] = (*(() if without_rowid else ("rowid",)), *columns)
    return found


def quoted(name: str) -> str:
    """A name in a statement of a test."""
    return '"' + name.replace('"', '""') + '"'


def _checksum(connection: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> tuple[int, str]:
    # As bytes: a text may hold anything. The type beside each value tells a text from a BLOB that is alike.
    connection.text_factory = bytes
    asked = ", ".join(f"typeof({name}), {name}" for name in map(_column, columns))
    rows = sorted(repr(row) for row in connection.execute(f"SELECT {asked} FROM {quoted(table)}"))
    connection.text_factory = str
    return len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _column(name: str) -> str:
    return name if name == "rowid" else quoted(name)
