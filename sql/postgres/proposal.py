"""Looks at a database that has no plan yet: its tables, and what their rows say about tenants."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from sql.asked import Known, Untold
from sql.errors import CatalogError
from sql.named import load
from sql.postgres.catalog import OURS
from sql.postgres.connection import Connection
from sql.postgres.source import matches

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
        return written(self.name) if self.visible else f"{written(self.schema)}.{written(self.name)}"


def written(part: str) -> str:
    """A part of a name as a plan writes it: quoted only where a dot or a quote needs it."""
    if "." in part or part.startswith('"'):
        return '"' + part.replace('"', '""') + '"'
    return part


def tables(connection: Connection) -> list[Found]:
    """List the user's tables; partitions, temporary tables and extensions' tables are not among them."""
    rows = connection.execute(STATEMENTS.tables.compose(), {"ours": list(OURS)})
    return [Found(*row) for row in rows]


def sample(table: sql.Identifier, *, share: float, most: int) -> sql.Composed:
    """Rows of `share` percent of a table's pages, at most `most` of them, in place of the table in a FROM."""
    return STATEMENTS.sample.compose(table=table, share=sql.Literal(share), most=sql.Literal(most))


def quoted(connection: Connection, name: str) -> str:
    """Quote a column's name where it needs that in an SQL expression."""
    ((text,),) = connection.execute(STATEMENTS.quoted.compose(), {"name": name}).fetchall()
    return str(text)


def known_in_column(connection: Connection, rows: sql.Composable, column: str) -> Known:
    """Count the rows that have a value in a column."""
    statement = STATEMENTS.known_in_column.beside_parameters(rows=rows, column=sql.Identifier(column))
    (row,) = connection.execute(statement, {"column": column}).fetchall()
    return Known(*row)


def known_in_json(
    connection: Connection, rows: sql.Composable, column: str, keys: Sequence[str]
) -> Known | None:
    """Find the first of the keys that any row has in a json or jsonb column."""
    statement = STATEMENTS.known_in_json.beside_parameters(rows=rows, column=sql.Identifier(column))
    row = connection.execute(statement, {"column": column, "keys": list(keys)}).fetchone()
    return Known(*row) if row is not None else None


def called(connection: Connection, rows: sql.Composable, column: str, pattern: str) -> tuple[bool, bool]:
    """Tell whether a column holds a proper tenant in every row, and another one in each."""
    statement = STATEMENTS.called.beside_parameters(rows=rows, column=sql.Identifier(column))
    ((proper, unique),) = connection.execute(statement, {"pattern": pattern}).fetchall()
    return bool(proper), bool(unique)


def found_there(
    connection: Connection, rows: sql.Composable, column: str, other: sql.Identifier, key: str
) -> tuple[int, int]:
    """Count some values of a column, and those of them that a key of another table has, of the same type."""
    statement = STATEMENTS.found_there.compose(
        rows=rows, column=sql.Identifier(column), other=other, key=sql.Identifier(key)
    )
    ((values, found),) = connection.execute(statement).fetchall()
    return values, found


def untold(connection: Connection, rows: sql.Composable, other: sql.Identifier, on: dict[str, str]) -> Untold:
    """Count the rows that name by `on` (ours, theirs) nothing, or a row of `other` that is not there."""
    nothing = sql.SQL("({})").format(
        sql.SQL(" OR ").join(sql.SQL("t.{} IS NULL").format(sql.Identifier(ours)) for ours in on)
    )
    statement = STATEMENTS.untold.compose(
        rows=rows, other=other, named_nothing=nothing, pairs=matches(on, "o", "t")
    )
    row = connection.execute(statement).fetchone()
    if row is None:
        raise CatalogError("an aggregate gave no row")
    return Untold(*row)
