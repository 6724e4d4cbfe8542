"""What a session has counted, reported while it goes on: by itself it does that up to 10 s late."""

from typing import Any

import psycopg


def report(session: psycopg.Connection[Any]) -> None:
    """Have a session outside a transaction report what it has counted so far."""
    if session.info.server_version >= 150_000:
        session.execute("SELECT pg_stat_force_next_flush()")
    else:
        # PostgreSQL 14 can't be asked: it reports after a statement, at most twice a second, to a collector.
        session.execute("SELECT pg_sleep(0.6)")
        session.execute("SELECT pg_sleep(0.6)")
