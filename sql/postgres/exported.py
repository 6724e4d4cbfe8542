"""What only the exporter asks of a server: which it is, invalid indexes, and who waits for a lock."""

from collections.abc import Mapping
from pathlib import Path

from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "exported")


def is_standby(connection: Connection) -> bool:
    """Whether the server follows another."""
    row = connection.execute(STATEMENTS.is_standby.compose()).fetchone()
    return row is not None and bool(row[0])


def invalid_indexes(connection: Connection, tables: Mapping[str, str]) -> dict[str, int]:
    """How many invalid indexes nobody builds, by the keys of `tables`, whose values are identifiers."""
    asked = {"names": list(tables), "tables": list(tables.values())}
    return dict(connection.execute(STATEMENTS.invalid_indexes.compose(), asked).fetchall())


def lock_waits(connection: Connection) -> dict[str, float]:
    """The longest wait for a lock now, in seconds: the `application`'s behind ours, and `tenantry`'s own."""
    row = connection.execute(STATEMENTS.lock_waits.compose(), {}).fetchone()
    application, tenantry = row if row is not None else (0.0, 0.0)
    return {"application": float(application), "tenantry": float(tenantry)}
