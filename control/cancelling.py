"""Cuts a statement of the run short once its migration is cancelled; a pause waits for the statement's end.

A CREATE INDEX CONCURRENTLY behind an old transaction, a VALIDATE or a count may take hours, and the conductor
looks at the ledger only between two of them. So beside it a thread looks, on a connection of its own, and has
the server cancel what runs. It does so by SQL: the protocol's own request goes to an address, and behind a
load balancer that is not always the server, or the pooler, that has the session.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from control.stage import Standing
from sql.database import Database, connect
from sql.errors import CancelledError, FileBusyError, TenantryError, UnreachableError
from sql.postgres.session import cut_short
from sql.sqlite.connection import File
from worker import ledger

#: Seconds between two looks at the ledger.
LOOK_EVERY = 0.5
#: Seconds that a statement may have run and not be cut: what the conductor writes into its ledger, the cancel
#: itself among it, is done by then.
BRIEF = 0.25
#: What the end of a stage waits for a look that hangs on a server that is away; seconds.
_END_WITHIN = 1.0


@contextmanager
def cancellable(ground: Standing, stage: str) -> Iterator[None]:
    """Let `tenantry cancel` cut short what the body has the server do on the ground's connection.

    A statement that somebody else cancels stays the error that it is.

    Raises:
        CancelledError: a statement was cut short, whatever the body made of that.
    """
    cut, ended = threading.Event(), threading.Event()
    thread = threading.Thread(
        target=_watch, args=(ground, cut, ended), name="tenantry cancelling", daemon=True
    )
    thread.start()
    try:
        try:
            yield
        finally:
            # Before the conductor writes down how the stage ended: the server has acted on all it was asked.
            ended.set()
            thread.join(_END_WITHIN)
    except CancelledError:
        raise
    except (psycopg.Error, sqlite3.Error, TenantryError) as error:
        if cut.is_set() or (isinstance(error, psycopg.errors.QueryCanceled) and _is_cancelled(ground)):
            raise CancelledError(ground.plan.name, stage) from error
        raise
    # A count that is given up when it takes too long takes a cut for that, and the stage would pass with it.
    if cut.is_set():
        raise CancelledError(ground.plan.name, stage)


def _is_cancelled(ground: Standing) -> bool:
    return ledger.state(ground.connection, ground.migration) == "cancelled"


def _watch(ground: Standing, cut: threading.Event, ended: threading.Event) -> None:
    url = ground.plan.database.url.get_secret_value()
    connection: Database | None = None
    # Most stages end before the first look, and then no second connection is opened.
    while not ended.wait(LOOK_EVERY):
        try:
            if connection is None or connection.closed:
                connection = connect(url, "cancelling", statement_timeout_ms=2_000)
            cancelled = ledger.state(connection, ground.migration) == "cancelled"
            if cancelled and not ended.is_set() and _cut(ground, connection):
                cut.set()
        except (UnreachableError, FileBusyError, psycopg.OperationalError, sqlite3.OperationalError):
            continue  # the run itself says so
    if connection is not None:
        connection.close()


def _cut(ground: Standing, connection: Database) -> bool:
    if isinstance(connection, File):
        if isinstance(ground.connection, File):
            ground.connection.raw.interrupt()
        return True
    return cut_short(connection, ground.migration, BRIEF)
