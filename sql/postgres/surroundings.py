"""Asks what stands around the tables: who listens, who goes round policies, what the application sends."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "surroundings")

#: What a statement looks like that reads every column: its prepared plans fail once a column is added.
EVERY_COLUMN = r"\mselect\s+(distinct\s+)?(\w+\.)?\*|,\s*\w+\.\*|\mreturning\s+(\w+\.)?\*"
#: And one that names, or leaves to the server, the key on which it may meet a row.
ON_CONFLICT = r"\mon\s+conflict\M"


@dataclass(frozen=True, slots=True)
class WalSettings:
    """Bytes of WAL between checkpoints and for slots (None: without end), and what isn't archived yet."""

    max_wal: int
    slots_keep: int | None
    slots: bool
    unarchived: str | None


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of a table's heap, of all its `count` indexes, and of those among them that are no btrees."""

    oid: int
    heap: int
    indexes: int
    inverted: int
    count: int


@dataclass(frozen=True, slots=True)
class Position:
    """Bytes of WAL since the server was made, and of this database on disk."""

    wal: int
    disk: int


def standbys(connection: Connection) -> list[str]:
    """Who streams from this server."""
    return _lines(connection, "standbys")


def idle_slots(connection: Connection) -> list[str]:
    """Slots that keep WAL for nobody who is there."""
    return _lines(connection, "idle_slots")


def far_snapshots(connection: Connection, transactions: int) -> list[str]:
    """Slots and standbys that keep dead rows of more than so many transactions from being pruned."""
    return _lines(connection, "far_snapshots", transactions=transactions)


def publications_of_all(connection: Connection) -> list[str]:
    """Publications FOR ALL TABLES."""
    return _lines(connection, "publications_of_all")


def without_identity(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Those of the tables (oids) that are published, and can't be updated for want of a replica identity."""
    return _lines(connection, "without_identity", tables=list(tables))


def whole_rows_logged(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Those of the tables (oids) that log every row whole under REPLICA IDENTITY FULL."""
    return _lines(connection, "whole_rows_logged", tables=list(tables))


def views_past_policies(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Views and materialized views through which the tables (oids) are read past their policies."""
    return _lines(connection, "views_past_policies", tables=list(tables))


def functions_past_policies(connection: Connection, names: Sequence[str]) -> list[str]:
    """SECURITY DEFINER functions that name one of the tables, of owners whom no policy holds."""
    return _lines(connection, "functions_past_policies", names=list(names))


def indexes_lost_to_policies(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Indexes of the tables (oids) that no session under a policy can use."""
    return _lines(connection, "indexes_lost_to_policies", tables=list(tables))


def statements(connection: Connection, shape: str, names: Sequence[str]) -> list[str] | None:
    """Statements of that shape about one of the tables, the commonest first; None where nobody counts them.

    Raises:
        psycopg.Error: pg_stat_statements is made here, and not loaded or not for this role to read.
    """
    where = _lines(connection, "statements_schema")
    if not where:
        return None
    composed = STATEMENTS.statements.compose(statements=sql.Identifier(where[0], "pg_stat_statements"))
    asked = {"shape": shape, "names": list(names)}
    return [line for (line,) in connection.execute(composed, asked)]


def stale_statistics(connection: Connection, tables: Sequence[int], share: float) -> list[str]:
    """Those of the tables (oids) of which more than that share has changed since the last ANALYZE."""
    return _lines(connection, "stale_statistics", tables=list(tables), share=share)


def not_vacuumed(connection: Connection, tables: Sequence[int]) -> list[str]:
    """Those of the tables (oids) that have autovacuum off."""
    return _lines(connection, "not_vacuumed", tables=list(tables))


def wraparound_due(connection: Connection, tables: Sequence[int], share: float) -> list[str]:
    """Those of the tables (oids) that are past that share of autovacuum_freeze_max_age."""
    return _lines(connection, "wraparound_due", tables=list(tables), share=share)


def clock(connection: Connection) -> float:
    """The server's time, in seconds since 1970."""
    (seconds,) = _lines(connection, "clock")
    return float(seconds)


def data_directory(connection: Connection) -> str | None:
    """The server's data directory, on its own machine; None where this role may not know it."""
    found = _lines(connection, "data_directory")
    return found[0] if found else None


def through_pooler(connection: Connection) -> bool:
    """Whether somebody stands between: a pooler gives its clients process ids of its own making."""
    return _lines(connection, "backend") != [connection.info.backend_pid]


def wal_settings(connection: Connection) -> WalSettings:
    """How much WAL may pile up, and whether it is archived."""
    with connection.cursor(row_factory=class_row(WalSettings)) as cursor:
        found = cursor.execute(STATEMENTS.wal_settings.compose()).fetchone()
    if found is None:
        raise CatalogError("a SELECT without FROM gave no row")
    return found


def sizes(connection: Connection, tables: Sequence[int]) -> dict[int, Sizes]:
    """The sizes of the tables, by oid."""
    with connection.cursor(row_factory=class_row(Sizes)) as cursor:
        return {one.oid: one for one in cursor.execute(STATEMENTS.sizes.compose(), {"tables": list(tables)})}


def widths(connection: Connection, tables: Sequence[int]) -> dict[tuple[str, str, str], int]:
    """Bytes that a column takes up in a row, by schema, table and column; those that ANALYZE has seen."""
    rows = connection.execute(STATEMENTS.widths.compose(), {"tables": list(tables)})
    return {(schema, table, column): width for table, schema, column, width in rows}


def position(connection: Connection) -> Position:
    """How far the WAL is, and how large the database."""
    with connection.cursor(row_factory=class_row(Position)) as cursor:
        found = cursor.execute(STATEMENTS.position.compose()).fetchone()
    if found is None:
        raise CatalogError("a SELECT without FROM gave no row")
    return found


def identity(connection: Connection) -> str:
    """Tell a database from every other of any server; a copy of the server's files is taken for the same."""
    (found,) = _lines(connection, "identity")
    return str(found)


def _lines(connection: Connection, statement: str, **parameters: Any) -> list[Any]:
    composed = getattr(STATEMENTS, statement).compose()
    return [line for (line,) in connection.execute(composed, parameters or None)]
