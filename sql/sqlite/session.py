"""Who has a file's migration: one controller at a time, across processes.

A lock of the operating system's on a small file beside the database: it ends with the process, however that
ends, and nobody who works with the database ever waits for it.
"""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sql.errors import UnreachableError

#: `holder` has the lock for a moment, to see whether it is free: a run that comes just then tries again.
_TRIES, _TRY_EVERY = 20, 0.05


def lock_path(database: Path) -> Path:
    """The file that is locked, beside the database."""
    return database.with_name(f"{database.name}-tenantry")


def holder(database: Path) -> str | None:
    """Who has the migrations of a file; None where nobody has."""
    path = lock_path(database)
    try:
        with path.open("rb") as opened:
            if _locked(opened.fileno(), fcntl.LOCK_SH):
                return None
            return opened.read(200).decode(errors="replace") or "it has just begun"
    except FileNotFoundError:
        return None


@contextmanager
def take_migrations(database: Path) -> Iterator[str | None]:
    """Have the migrations of a file until the end of the context: None, or who has them instead.

    Raises:
        UnreachableError: the folder can't be written.
    """
    with _taken(lock_path(database), database) as ours:
        yield None if ours else holder(database) or "it has just ended"


@contextmanager
def take_outbox(database: Path) -> Iterator[bool]:
    """Have what a file's migrations have to send until the end of the context; False where another has it.

    Raises:
        UnreachableError: the folder can't be written.
    """
    with _taken(database.with_name(f"{database.name}-tenantry-outbox"), database) as ours:
        yield ours


@contextmanager
def _taken(path: Path, database: Path) -> Iterator[bool]:
    """Have the lock of a file of ours, which says by whom it is had; False where another has it."""
    while True:
        try:
            opened = path.open("a+b")
        except OSError as error:
            raise UnreachableError(f"SQLite {database}", f"{path}: {error.strerror}") from None
        with opened:
            if not _locked_soon(opened.fileno()):
                yield False
                return
            if not _is_still(path, opened.fileno()):
                continue  # whoever had it took it away between our two calls
            opened.truncate(0)
            since = datetime.now(UTC)
            opened.write(f"process {os.getpid()} on {socket.gethostname()} since {since:%F %T} UTC".encode())
            opened.flush()
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
            return


def _locked_soon(descriptor: int) -> bool:
    for _ in range(_TRIES):
        if _locked(descriptor, fcntl.LOCK_EX):
            return True
        time.sleep(_TRY_EVERY)
    return False


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
