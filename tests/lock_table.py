"""The server's lock table, and the `-- locks:` lines that tests hold against it."""

import re

import psycopg
from psycopg.rows import tuple_row

from sql.named import Statement

#: From the weakest to the strongest, as PostgreSQL's manual orders them.
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_NAMED = re.compile("|".join(sorted(MODES, key=len, reverse=True)))

#: Every mode that a session holds on a table that is not the server's.
_HELD = """
SELECT c.oid::regclass::text, l.mode
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = %s AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p')
  AND n.nspname NOT LIKE 'pg\\_%%'
"""


def named(statement: Statement) -> set[str]:
    """The lock modes that a statement's line names."""
    return set(_NAMED.findall(statement.locks))


def strongest(connection: psycopg.Connection, pid: int | None = None) -> dict[str, str]:
    """The strongest mode that a session (its own, if none is given) holds on each table."""
    held: dict[str, str] = {}
    cursor = connection.cursor(row_factory=tuple_row)
    for table, mode in cursor.execute(_HELD, [pid or connection.info.backend_pid]):
        words = " ".join(re.findall("[A-Z][a-z]+", mode.removesuffix("Lock"))).upper()
        held[table] = max(words, held.get(table, words), key=MODES.index)
    return held
