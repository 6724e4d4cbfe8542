"""Keeps a pool of workers at the size that the operator tunes, for as long as a run or a service lasts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from control.worker_pool import WorkerPool
from sql.errors import LedgerVersionError, UnreachableError
from sql.postgres.connection import Connection, connect
from worker import ledger

#: Seconds between two looks at the ledger.
LOOK_EVERY = 0.5
#: What the end of a run waits for a look that hangs on a server that is away; seconds.
_END_WITHIN = 1.0


@contextmanager
def resized(pool: WorkerPool, url: str, migration: str, *, otherwise: int) -> Iterator[None]:
    """Give a pool as many workers as `tenantry tune workers=…` says, `otherwise` where it says nothing.

    While the database is away, and before it has a ledger of this version, the pool stays as it is.
    """
    ended = threading.Event()
    thread = threading.Thread(
        target=_follow, args=(pool, url, migration, otherwise, ended), name="tenantry resizing", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_END_WITHIN)


def _follow(pool: WorkerPool, url: str, migration: str, otherwise: int, ended: threading.Event) -> None:
    connection: Connection | None = None
    while not ended.wait(LOOK_EVERY):
        try:
            if connection is None or connection.closed:
                connection = connect(url, "pool", statement_timeout_ms=2_000)
            wanted = ledger.workers(connection, migration)
        except (LedgerVersionError, UnreachableError, psycopg.Error):
            continue  # the run itself says so
        pool.resize(otherwise if wanted is None else wanted)
    if connection is not None:
        connection.close()
