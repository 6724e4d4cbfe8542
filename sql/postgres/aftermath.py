"""Asks what happened since a migration began, and what it leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.rows import class_row

from sql.errors import CatalogError
from sql.named import load
from sql.postgres.connection import Connection

STATEMENTS = load(Path(__file__).parent, "aftermath")


@dataclass(frozen=True, slots=True)
class Counters:
    """What the server counted in this database until `at`; counts with another `reset` can't be compared."""

    at: str
    reset: str
    deadlocks: int
    rollbacks: int
    commits: int


@dataclass(frozen=True, slots=True)
class Log:
    """The server's log: its file in the data directory, its size in bytes, and its language."""

    file: str
    size: int
    language: str


def counters(connection: Connection) -> Counters:
    """What the server has counted until now."""
    with connection.cursor(row_factory=class_row(Counters)) as cursor:
        found = cursor.execute(STATEMENTS.counters.compose()).fetchone()
    if found is None:
        raise CatalogError("the server counts nothing in this database")
    return found


def deleted(connection: Connection, tables: Sequence[int]) -> int:
    """Rows of the tables (oids) that were ever deleted."""
    row = connection.execute(STATEMENTS.deleted.compose(), {"tables": list(tables)}).fetchone()
    return int(row[0]) if row is not None else 0


def filled(connection: Connection, migration: int) -> dict[str, int]:
    """Rows that the batches of a migration filled, by the name of the table in the plan."""
    return dict(connection.execute(STATEMENTS.filled.compose(), {"migration": migration}).fetchall())


def parts_gone(connection: Connection, migration: int) -> dict[str, list[str]]:
    """Partitions that were filled and aren't there any more, by the name of the table in the plan."""
    gone: dict[str, list[str]] = {}
    for table, part, there in connection.execute(STATEMENTS.parts.compose(), {"migration": migration}):
        if not there:
            gone.setdefault(table, []).append(part)
    return gone


def log(connection: Connection) -> Log | None:
    """The log as it is now; None where there is none, or this role may not read it."""
    try:
        with connection.transaction():
            row = connection.execute(STATEMENTS.log.compose()).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedFile):
        return None
    return Log(*row) if row is not None and row[0] is not None and row[1] is not None else None


def log_since(connection: Connection, before: Log, since: str, most: int) -> bytes | None:
    """What was logged since, `most` bytes of it at most; None where this role may not read it."""
    directory, _, first = before.file.rpartition("/")
    read = b""
    try:
        with connection.transaction():
            files = connection.execute(STATEMENTS.logs_since.compose(), {"since": since}).fetchall()
            for name, size in files:
                begin = before.size if name == first and size >= before.size else 0
                given = {"file": f"{directory}/{name}", "begin": begin, "length": most - len(read)}
                row = connection.execute(STATEMENTS.log_part.compose(), given).fetchone()
                read += bytes(row[0] or b"") if row is not None else b""
    except psycopg.errors.InsufficientPrivilege:
        return None
    return read


def bypassing_roles(connection: Connection) -> list[str]:
    """Roles that log in and that no policy holds."""
    return [role for (role,) in connection.execute(STATEMENTS.bypassing_roles.compose())]


def under_policy(connection: Connection, tables: Sequence[int]) -> set[int]:
    """Those of the tables (oids) of which this session sees only what policies show it."""
    found = connection.execute(STATEMENTS.under_policy.compose(), {"tables": list(tables)})
    return {oid for (oid,) in found}


def leftovers(connection: Connection, names: Sequence[str], tables: Sequence[int]) -> list[str]:
    """What a migration of the tables (oids) made for a while, by these names among others, and is there."""
    given = {"names": list(names), "tables": list(tables)}
    found = connection.execute(STATEMENTS.leftovers.compose(), given)
    return [told for (told,) in found]
