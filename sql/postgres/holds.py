"""What is held and who holds it, as the ledger and the server's lock table have it."""

from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from sql.named import load
from sql.postgres.connection import Connection

HOLDS = load(Path(__file__).parent, "holds")


def ask(connection: Connection, statement: str, **parameters: Any) -> list[dict[str, Any]]:
    """Send a statement of `holds.sql` by its name; its rows as dictionaries."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(getattr(HOLDS, statement).compose(), parameters or None)
        return cursor.fetchall()
