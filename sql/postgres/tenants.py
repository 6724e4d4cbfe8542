"""Reads who the tenants are, and keeps which of them the application may treat as migrated."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from psycopg import sql
from psycopg.rows import class_row

from sql.named import load
from sql.postgres.connection import Connection
from sql.tenant_rows import ACTIVITY, TenantRows

STATEMENTS = load(Path(__file__).parent, "tenants")


def rows(connection: Connection, table: sql.Identifier, column: str) -> list[TenantRows]:
    """Count a table by tenant. Reads all of it.

    Raises:
        psycopg.errors.InsufficientPrivilege: row-level security would hide some, or the table can't be read.
    """
    named = {"table": table.as_string(), "names": list(ACTIVITY)}
    found = connection.execute(STATEMENTS.activity_column.compose(), named).fetchone()
    activity = sql.SQL("NULL::timestamptz")
    if found is not None:
        activity = sql.SQL(
            "(max({0}) FILTER (WHERE {0} BETWEEN '0001-01-02' AND '9999-12-30'))::timestamptz"
        ).format(sql.Identifier(found[0]))  # type: ignore[assignment]
    statement = STATEMENTS.rows.compose(table=table, column=sql.Identifier(column), activity=activity)
    with connection.cursor(row_factory=class_row(TenantRows)) as cursor:
        return cursor.execute(statement).fetchall()


def enable(connection: Connection, tenants: Sequence[str], actor: str) -> list[str]:
    """Let the application treat tenants as migrated; those that it could not before."""
    with connection.transaction():
        connection.execute(STATEMENTS.create.compose())
        given = {"tenants": list(tenants), "actor": actor}
        return [name for (name,) in connection.execute(STATEMENTS.enable.compose(), given)]


def disable(connection: Connection, tenants: Sequence[str]) -> list[str]:
    """Let the application treat tenants as migrated no more; those that it could before."""
    if not _is_there(connection):
        return []
    return [name for (name,) in connection.execute(STATEMENTS.disable.compose(), {"tenants": list(tenants)})]


def enabled(connection: Connection) -> dict[str, datetime]:
    """The tenants that the application may treat as migrated, and since when."""
    return dict(connection.execute(STATEMENTS.enabled.compose()).fetchall()) if _is_there(connection) else {}


def _is_there(connection: Connection) -> bool:
    row = connection.execute(STATEMENTS.is_there.compose()).fetchone()
    return row is not None and bool(row[0])
