"""The statements of `keys.sql`, which `control.stages.keys` puts in order, and what is asked before."""

from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "keys")


def leaning(
    connection: Connection, tables: Sequence[int], columns: Sequence[str], views: Sequence[int] = ()
) -> list[str]:
    """Views, functions and rules that keep the primary key of the tables (oids) from being dropped.

    `columns` are those of the new key: where it stands already, nothing is dropped. `views` (oids) are let
    alone.
    """
    return _lines(connection, "leaning", tables, columns, views=list(views))


def short_column_lists(connection: Connection, tables: Sequence[int], columns: Sequence[str]) -> list[str]:
    """Publications of the tables (oids) whose column list doesn't hold all `columns` of the new key."""
    return _lines(connection, "short_column_lists", tables, columns)


def _lines(
    connection: Connection, name: str, tables: Sequence[int], columns: Sequence[str], **more: list[int]
) -> list[str]:
    given = {"tables": sql.Literal(list(tables)), "columns": sql.Literal(list(columns))}
    given |= {key: sql.Literal(value) for key, value in more.items()}
    return [line for (line,) in connection.execute(getattr(STATEMENTS, name).compose(**given))]
