"""The statements of `unique.sql`, which `control.keys.unique` puts in order, and what is asked before."""

from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "unique")


def leaning(connection: Connection, table: int, name: str, tenant: str) -> list[str]:
    """Rules and functions that keep the unique index of a table (oid) from being dropped."""
    given = {"oid": sql.Literal(table), "name": sql.Literal(name), "tenant": sql.Literal(tenant)}
    return [line for (line,) in connection.execute(STATEMENTS.leaning.compose(**given))]


def lists_without(connection: Connection, table: int, column: str) -> list[str]:
    """Publications of a table (oid) whose column list lacks a column that its replica identity will hold."""
    given = {"oid": sql.Literal(table), "column": sql.Literal(column)}
    return [line for (line,) in connection.execute(STATEMENTS.lists_without.compose(**given))]
