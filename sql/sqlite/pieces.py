"""Which indexes a table has by its statements alone, those of its constraints too, and how each is made.

Found out by SQLite itself, in an empty database in memory: how it numbers the indexes of constraints, and
that it makes none for one that another has already, is nothing to guess.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from sql.sqlite.index_definition import index_parts, renamed_index
from sql.sqlite.names import quoted
from sql.sqlite.rebuild import STATEMENTS


@dataclass(frozen=True, slots=True)
class Part:
    """A column of an index, None for an expression, which `text` is; how and in which order it compares."""

    column: str | None
    text: str
    collation: str
    descending: bool

    @property
    def collated(self) -> str:
        """How it stands in an index."""
        return f"{self.text} COLLATE {quoted(self.collation)}{' DESC' if self.descending else ''}"


@dataclass(frozen=True, slots=True)
class Piece:
    """An index: `sql` is None where a constraint makes it; `where` is empty where it has all rows."""

    name: str
    sql: str | None
    unique: bool
    parts: tuple[Part, ...]
    where: str

    def create(self, name: str, table: str) -> str:
        """The statement that makes it under another name, on another table with the same columns."""
        if self.sql is not None:
            return renamed_index(self.sql, name, table)
        columns = ", ".join(part.collated for part in self.parts)
        return STATEMENTS.unique_index.filled(index=quoted(name), table=quoted(table), columns=columns)


def pieces(table: str, statement: str, indexes: Mapping[str, str]) -> tuple[Piece, ...]:
    """The indexes of a table that `statement` makes, with `indexes`; not a primary key that is the table.

    Raises:
        sqlite3.OperationalError: it needs a function or a collation that only the application has.
    """
    memory = sqlite3.connect(":memory:")
    try:
        memory.execute(statement)
        for index in indexes.values():
            memory.execute(index)
        rows = memory.execute(STATEMENTS.pieces.filled(), (table,)).fetchall()
        return tuple(_piece(memory, *row) for row in rows)
    finally:
        memory.close()


def _piece(memory: sqlite3.Connection, name: str, statement: str | None, unique: int) -> Piece:
    texts, where = ((), "") if statement is None else index_parts(statement)
    parts = []
    rows = memory.execute(STATEMENTS.parts.filled(), (name,))
    for at, (column, collation, descending) in enumerate(rows):
        text = quoted(column) if column is not None else f"({texts[at]})"
        parts.append(Part(column, text, collation, bool(descending)))
    return Piece(name, statement, bool(unique), tuple(parts), where)


def automatic(name: str, table: str) -> str:
    """What the index of the same constraint is called on a table of another name."""
    return f"sqlite_autoindex_{table}_{name.rpartition('_')[2]}"
