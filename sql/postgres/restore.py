"""What stands in the way of a restore, and what is to be done after one."""

from pathlib import Path

from sql.named import load
from sql.postgres import ledger
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "restore")


def tables(connection: Connection) -> list[str]:
    """Every table of the database, as `schema name`: nothing in it is quoted."""
    return [line for (line,) in connection.execute(STATEMENTS.tables.compose())]


def migrations(connection: Connection) -> list[str]:
    """The migrations that this database's ledger knows."""
    there = connection.execute(ledger.LEDGER.exists.compose()).fetchone()
    if there is None or not there[0]:
        return []
    return [name for (name,) in connection.execute(STATEMENTS.migrations.compose())]


def drop_ours(connection: Connection) -> None:
    """Take ledger, guard and functions of policies away: the tables that they were about are gone."""
    connection.execute(STATEMENTS.drop_ours.compose())


def analyze(connection: Connection) -> None:
    """Let the server look at every table: plans and estimates lean on that."""
    connection.execute(STATEMENTS.analyze.compose())


def running(connection: Connection) -> str:
    """Tell a running server from every other, a copy of its files among them."""
    row = connection.execute(STATEMENTS.running.compose()).fetchone()
    return str(row[0]) if row is not None else ""
