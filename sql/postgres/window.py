"""Who else could touch the plan's tables, for a maintenance window."""

from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.connection import Connection
from sql.postgres.locks import Blocker

STATEMENTS = load(Path(__file__).parent, "window")


def sessions(connection: Connection, tables: Sequence[sql.Identifier]) -> list[Blocker]:
    """Sessions and prepared transactions of others that may touch the tables, idle ones too."""
    asked = {"tables": [table.as_string() for table in tables]}
    return [Blocker(*row) for row in connection.execute(STATEMENTS.sessions.compose(), asked)]
