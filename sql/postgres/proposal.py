"""Looks at a database that has no plan yet: its tables, and what their rows say about tenants."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.catalog import OURS
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "proposal")


@dataclass(frozen=True, slots=True)
class Found:
    """A table of the user's; `visible` in the search path, so that it needs no schema before it."""

    schema: str
    name: str
    visible: bool

    @property
    def plan_name(self) -> str:
        """Its name as a plan writes it."""
        return _quoted(self.name) if self.visible else f"{_quoted(self.schema)}.{_quoted(self.name)}"


@dataclass(frozen=True, slots=True)
class Known:
    """Of the first rows of a table: how many say whose they are, in what SQL expression."""

    expression: str
    rows: int
    known: int


def _quoted(part: str) -> str:
    if "." in part or part.startswith('"'):
        return '"' + part.replace('"', '""') + '"'
    return part


def tables(connection: Connection) -> list[Found]:
    """List the user's tables; partitions, temporary tables and extensions' tables are not among them."""
    rows = connection.execute(STATEMENTS.tables.compose(), {"ours": list(OURS)})
    return [Found(*row) for row in rows]


def known_in_column(connection: Connection, table: sql.Identifier, column: str) -> Known:
    """Count the rows, of at most 1,000, that have a value in a column."""
    statement = STATEMENTS.known_in_column.compose(table=table, column=sql.Identifier(column))
    (row,) = connection.execute(statement, {"column": column}).fetchall()
    return Known(*row)


def known_in_json(
    connection: Connection, table: sql.Identifier, column: str, keys: Sequence[str]
) -> Known | None:
    """Find the first of the keys that any row, of at most 1,000, has in a json or jsonb column."""
    statement = STATEMENTS.known_in_json.compose(table=table, column=sql.Identifier(column))
    row = connection.execute(statement, {"column": column, "keys": list(keys)}).fetchone()
    return Known(*row) if row is not None else None
