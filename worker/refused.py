"""A batch that the server refused whatever its rows are: a right is missing, or what it names is gone.

Its SQLSTATE alone (class 42) does not tell: a trigger may raise any code for one row. So the server is asked
to plan the statement again, which looks up every name and every right that it has, and reads no row.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from sql.job import JobSpec
from sql.postgres.batch import BATCH
from sql.postgres.connection import Connection
from worker import jobs

_CLASS = "42"
#: Who in the server says that a right is missing, as against a trigger that raises the same code for a row.
_ASKS_FOR_RIGHTS = "aclcheck_error"


def is_of_statement(error: psycopg.Error) -> bool:
    """Whether the server could not read the statement that it was sent: no row was looked at.

    What a trigger, a function or a value ends in has no place in that statement.
    """
    return (error.sqlstate or "").startswith(_CLASS) and error.diag.statement_position is not None


def why_refused(
    connection: Connection,
    spec: JobSpec,
    statements: Sequence[sql.Composable],
    parameters: Mapping[str, Any],
    error: psycopg.Error,
) -> str | None:
    """Why a batch can't be done before an operator does something; None where its rows may be at fault.

    `statements` are those of the batch, and `error` is what one of them ended in. None too where they would
    be refused no more, as where a script dropped a function and made it anew (`is_of_statement`).
    """
    if not (error.sqlstate or "").startswith(_CLASS):
        return None
    refusal = _planned(connection, statements, parameters)
    if refusal is not None:
        return _told(connection, spec, refusal)
    if isinstance(error, InsufficientPrivilege) and _ASKS_FOR_RIGHTS in (error.diag.source_function or ""):
        # The outermost, which is the trigger's function; what is within may hold values of a row.
        where = (error.diag.context or "a check, an index or a trigger").splitlines()[-1]
        return (
            f"{error.diag.message_primary}, in {where}: GRANT {_role(connection, spec)[0]} what the tables' "
            "own triggers and functions need"
        )
    return None


def _planned(
    connection: Connection, statements: Sequence[sql.Composable], parameters: Mapping[str, Any]
) -> psycopg.Error | None:
    """What the server says against the statements themselves; None where it says nothing."""
    for statement in statements:
        try:
            with connection.transaction():
                connection.execute(BATCH.explain.compose(statement=statement), parameters)
        except psycopg.Error as refusal:
            if connection.closed:
                raise
            return refusal if (refusal.sqlstate or "").startswith(_CLASS) else None
    return None


def _told(connection: Connection, spec: JobSpec, refusal: psycopg.Error) -> str | None:
    if isinstance(refusal, InsufficientPrivilege):
        role, rights = _role(connection, spec)
        lacks = f"{role} lacks {', '.join(rights) or 'a right'}"
        option = " --assign" if spec.moving is not None else ""
        return (
            f"{refusal.diag.message_primary}: {lacks}, and `tenantry roles --sql{option}` writes the grants "
            "that workers need"
        )
    part = sql.Identifier(spec.schema_, spec.table).as_string()
    if isinstance(refusal, UndefinedTable) and not jobs.is_there(connection, part):
        return None  # dropped or detached: whoever drives the job sees that, and goes on without it
    return (
        f"{refusal.diag.message_primary}: the batch reads or writes what is not as it was when it was planned"
    )


def _role(connection: Connection, spec: JobSpec) -> tuple[str, list[str]]:
    """The role, and which rights on the job's table it lacks."""
    copies = spec.moving is not None and spec.moving.step != "move"
    wanted = ["SELECT", "UPDATE", *(["INSERT", "DELETE"] if copies else [])]
    given = {"rights": wanted, "schema": spec.schema_, "table": spec.table}
    row = connection.execute(BATCH.lacking.compose(), given).fetchone()
    return ("", []) if row is None else (str(row[0]), list(row[1]))
