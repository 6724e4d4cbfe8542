"""Which tables and indexes a transaction has read."""

import psycopg

_SCANS = """
SELECT oid::bigint, coalesce(pg_stat_get_xact_numscans(oid), 0) FROM pg_class
WHERE relkind IN ('r', 'i') AND relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)
"""


def scans(connection: psycopg.Connection) -> dict[int, int]:
    """Scans of each by its oid: by this transaction, and by what the server has not taken in yet."""
    return dict(connection.execute(_SCANS).fetchall())


def scanned(connection: psycopg.Connection, before: dict[int, int]) -> list[int]:
    """Those that were read since; one that was dropped since takes its count with it."""
    return [oid for oid, count in scans(connection).items() if count > before.get(oid, 0)]
