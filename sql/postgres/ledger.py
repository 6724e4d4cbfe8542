"""The ledger's statements, sent; their meaning is `worker.ledger`'s and `worker.jobs`'."""

from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from sql.named import Statement, load
from sql.postgres.connection import Connection

LEDGER = load(Path(__file__).parent, "ledger")
JOBS = load(Path(__file__).parent, "jobs")


def send(connection: Connection, statement: Statement, **parameters: Any) -> list[dict[str, Any]]:
    """Send a statement of the ledger; its rows as dictionaries, none where it returns none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(statement.compose(), parameters or None)
        return cursor.fetchall() if cursor.description is not None else []
