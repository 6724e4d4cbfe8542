"""The ledger's statements, sent; their meaning is `worker.ledger`'s."""

from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from sql.named import load
from sql.postgres.connection import Connection

LEDGER = load(Path(__file__).parent, "ledger")


def send(connection: Connection, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Send a statement of `ledger.sql` by its name; its rows as dictionaries, none where it returns none."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(getattr(LEDGER, statement).compose(), parameters or None)
        return cursor.fetchall() if cursor.description is not None else []
