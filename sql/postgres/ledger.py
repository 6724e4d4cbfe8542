"""The ledger's statements, sent; their meaning is `worker.ledger`'s and `worker.jobs`'."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from sql.named import Statement, load
from sql.postgres.connection import Connection

LEDGER = load(Path(__file__).parent, "ledger")
JOBS = load(Path(__file__).parent, "jobs")
UPGRADE = load(Path(__file__).parent, "upgrade")


def send(connection: Connection, statement: Statement, **parameters: Any) -> list[dict[str, Any]]:
    """Send a statement of the ledger; its rows as dictionaries, none where it returns none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(statement.compose(), parameters or None)
        return cursor.fetchall() if cursor.description is not None else []


def send_each(
    connection: Connection, statement: Statement, parameters: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Send a statement once for each of the parameters, in one go; the rows of all in order."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.executemany(statement.compose(), parameters, returning=True)
        return [row for results in cursor.results() for row in results]
