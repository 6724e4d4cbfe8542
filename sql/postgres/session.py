"""What a controller asks about sessions and counters: who has the migration, how updates went."""

import time
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from sql.errors import AnotherRunError
from sql.named import load
from sql.postgres.connection import Connection

#: Between our two questions who had it may have ended: both are asked again, so often, before that is said.
_TRIES, _TRY_EVERY = 20, 0.05

SESSION = load(Path(__file__).parent, "session")


def take_migration(connection: Connection, name: str) -> str | None:
    """Take the migration for this session; None when it is ours, else who has it.

    The lock is asked for and never waited for: a session that waits for an advisory lock holds a snapshot,
    and CREATE INDEX CONCURRENTLY would wait for it for ever (lessons: postgres-migrations#36).
    """
    for _ in range(_TRIES):
        if _got(connection, "try_migration_lock", name):
            # A controller that was killed while its lanes built leaves them to the server, which builds on.
            if _got(connection, "lanes_are_over", name):
                return None
            leave_migration(connection, name)
        holder = has_migration(connection, name)
        if holder is not None:
            since = f"{holder['backend_start']:%Y-%m-%d %H:%M:%S}"
            return f"server process {holder['pid']} from {holder['host']} since {since}"
        time.sleep(_TRY_EVERY)
    return "it has just ended"


def leave_migration(connection: Connection, name: str) -> None:
    """Give the migration back.

    A closed session's lock goes too, but when the server comes to it: on a busy machine the next run, begun
    at once, was refused by the one that had just ended.
    """
    connection.execute(SESSION.leave_migration.compose(), {"name": name})


def has_migration(connection: Connection, name: str) -> dict[str, Any] | None:
    """The session that has a migration: its `pid`, `host` and `backend_start`; None where nobody has."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SESSION.migration_lock_holder.compose(), {"name": name}).fetchone()


def join_migration(connection: Connection, name: str) -> None:
    """Make this session one of the controller's, which has the migration: seen and cancelled with it.

    Raises:
        AnotherRunError: another controller is about to take the migration.
    """
    if not _got(connection, "join_migration", name):
        raise AnotherRunError(name, "it has just begun")


def take_outbox(connection: Connection, name: str) -> bool:
    """Take what a migration has to send, for as long as this session lasts; False where another has it."""
    return _got(connection, "try_outbox_lock", name)


def _got(connection: Connection, lock: str, name: str) -> bool:
    row = connection.execute(getattr(SESSION, lock).compose(), {"name": name}).fetchone()
    return row is not None and bool(row[0])


def cut_short(connection: Connection, migration: int, seconds: float) -> bool:
    """Cancel the statements of who has a cancelled migration that have run for `seconds`; whether one was."""
    asked = {"migration": migration, "seconds": seconds}
    return any(cancelled for (cancelled,) in connection.execute(SESSION.cut_short.compose(), asked))


def updates(connection: Connection, schema: str, table: str) -> tuple[int, int]:
    """Updates of a table since its statistics began, and how many of them stayed in their page."""
    row = connection.execute(SESSION.updates.compose(), {"schema": schema, "table": table}).fetchone()
    return (int(row[0]), int(row[1])) if row is not None else (0, 0)


def updates_since(connection: Connection, migration: int) -> dict[int, tuple[int, int]]:
    """Per job, all updates of its table since it began, and how many of them stayed in their page."""
    rows = connection.execute(SESSION.updates_since.compose(), {"migration": migration})
    return {row[0]: (int(row[1]), int(row[2])) for row in rows}
