"""The statements of the write guard, and how often it was needed."""

from collections.abc import Sequence
from pathlib import Path

from psycopg import sql

from sql.named import load, plain
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "guard")

#: Whether the session is none that fills tables (`batch.sql`), for a trigger's WHEN.
NOT_A_BATCH = sql.SQL("current_setting('tenantry.filling', true) IS DISTINCT FROM 'on'")


def uses(connection: Connection) -> dict[str, int]:
    """How often each guard was needed since it was made, by the name of its sequence."""
    return {name: last or 0 for name, last in connection.execute(STATEMENTS.uses.compose())}


def has_moves(connection: Connection) -> bool:
    """Whether there are notes of moved rows."""
    row = connection.execute(STATEMENTS.has_moves.compose()).fetchone()
    return row is not None and bool(row[0])


def unsettled(connection: Connection, followers: Sequence[str]) -> int:
    """How many moves are noted that some transaction may not have seen."""
    row = connection.execute(STATEMENTS.unsettled.compose(), {"followers": list(followers)}).fetchone()
    return 0 if row is None else int(row[0])


def settle(
    connection: Connection,
    table: sql.Identifier,
    *,
    follower: str,
    column: str,
    value: sql.Composable,
    named: sql.Composable,
) -> int:
    """Give rows their tenants that were written beside moves which all transactions have seen; how many."""
    statement = STATEMENTS.settle.compose(
        table=plain(table), column=plain(sql.Identifier(column)), value=plain(value), named=plain(named)
    )
    return connection.execute(statement, {"follower": follower}).rowcount
