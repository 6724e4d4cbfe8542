"""Connections to a SQLite file.

Nothing here opens a transaction by itself: a statement outside `File.transaction` commits at its end. A
transaction of ours is IMMEDIATE, so that it never turns from a reader into a writer, which fails at once
whatever the busy timeout (`database is locked`); and it is short, for a file has one writer at a time.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar
from urllib.parse import quote

from sql.errors import FileBusyError, GivenWrongError, UnreachableError

#: How the addresses of files begin; what follows is a path: three slashes, and a fourth where it is absolute.
SCHEME = "sqlite:///"

#: How long a statement waits for other writers before it fails; seconds.
BUSY_SECONDS = 5.0

#: Bytes of a file's name, as file systems take them; and letters of a path, with room for where it begins.
_LONGEST, _LONGEST_PATH = 255, 2_000

#: Said rather than left to how SQLite was built. Foreign keys are looked at by `foreign_key_check`, as a
#: whole: enforced row by row, with one that is broken already no statement of ours would go through. What is
#: committed stays, though some builds let a WAL go with the power (`SQLITE_DEFAULT_WAL_SYNCHRONOUS=1`).
_SESSION = ("PRAGMA foreign_keys = OFF", "PRAGMA recursive_triggers = OFF", "PRAGMA synchronous = FULL")

Parameters = Mapping[str, Any] | Sequence[Any]

_T = TypeVar("_T")


class Patience(Protocol):
    """What does something again while another writer is in the way."""

    def __call__(self, work: Callable[[], _T], /) -> _T:
        """Do it, and answer what it answers; FileBusyError once patience is at its end."""


#: What is said of a file whose names are no texts.
_DAMAGED = "database disk image is malformed"


def is_file(url: str) -> bool:
    """Whether a resolved address is that of a SQLite file."""
    return url.startswith("sqlite:")


def path_of(url: str) -> Path:
    """The path of an address such as `sqlite:///graph.db`; a relative one begins in the working directory.

    Raises:
        GivenWrongError: not such an address, or one of a database in memory.
    """
    path = url.removeprefix(SCHEME)
    too_long = len(path) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST for part in path.split("/"))
    if not url.startswith(SCHEME) or not path or path == ":memory:" or "\0" in path or too_long:
        raise GivenWrongError(
            f"the file's address can't be read; write {SCHEME}graph.db or {SCHEME}/srv/graph.db"
        )
    return Path(path)


def sizes(path: Path) -> tuple[int, int]:
    """A file and its WAL, in bytes."""
    wal = path.with_name(f"{path.name}-wal")
    return path.stat().st_size, wal.stat().st_size if wal.exists() else 0


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection was in the way; the code's low byte says so, the rest says how."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def shown(text: str) -> str:
    r"""A text of a file as it can be shown and kept, whatever it is: what is no UTF-8 in it as `\udcff`."""
    return text.encode("utf-8", "backslashreplace").decode()


def _text(written: bytes) -> str:
    return written.decode("utf-8", "surrogateescape")


class File:
    """A connection to a file, in autocommit.

    `held` is for how long the last transaction had the write lock, in seconds; `longest` the longest so far;
    `begun` is when it got it, as `time.perf_counter` counts. `patience` does again what begins a
    transaction, or is one by itself, while another writer is in the way; without it the busy timeout is all.
    """

    patience: Patience | None

    def __init__(self, path: Path, *, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self.held = 0.0
        self.longest = 0.0
        self.begun = 0.0
        self.patience = None
        # mode=rw: a misspelt path must not become a new, empty file. Threads: a display reads by its own.
        uri = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
        self._connection = sqlite3.connect(
            uri, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        # SQLite takes any bytes for a text: what is no UTF-8 is to be shown and compared, not to end a read.
        self._connection.text_factory = _text
        self._closed = False
        self._depth = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def raw(self) -> sqlite3.Connection:
        """The driver's own connection, for its backup, its limits and its progress handler."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def broken(self) -> bool:
        """Whether nothing can be sent any more; a file has no server that could go away."""
        return self._closed

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""
        return self._connection.in_transaction

    def close(self) -> None:
        """Close it; an open transaction is rolled back."""
        self._closed = True
        self._connection.close()

    def execute(self, statement: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Send one statement.

        Raises:
            FileBusyError: another connection was in the way for longer than the busy timeout, and than
                `patience` lasts.
            sqlite3.Error: anything else that SQLite refuses.
        """
        if self.patience is None or self._connection.in_transaction:
            return self._sent(statement, parameters)
        return self.patience(lambda: self._sent(statement, parameters))

    @contextmanager
    def impatient(self) -> Iterator[None]:
        """Leave it to the body to do again what another writer is in the way of."""
        patience, self.patience = self.patience, None
        try:
            yield
        finally:
            self.patience = patience

    def _sent(self, statement: str, parameters: Parameters) -> sqlite3.Cursor:
        try:
            return self._connection.execute(statement, parameters)
        except sqlite3.OperationalError as error:
            if is_busy(error):
                raise FileBusyError(str(self.path), str(error)) from error
            raise
        except UnicodeDecodeError:
            # SQLite's own message, which quotes what it found where it looked for a name.
            raise sqlite3.DatabaseError(_DAMAGED) from None

    def rows(self, statement: str, parameters: Parameters = ()) -> list[dict[str, Any]]:
        """Send one statement; its rows as dictionaries, none where it returns none."""
        cursor = self.execute(statement, parameters)
        if cursor.description is None:
            return []
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def value(self, statement: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None where there is no row."""
        row = self.execute(statement, parameters).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Have the write lock from here to the end of the context; inside another one, a savepoint of it.

        Raises:
            FileBusyError: another writer had it for longer than the busy timeout.
        """
        if self._depth:
            with self._savepoint():
                yield
            return
        self.execute("BEGIN IMMEDIATE")
        self.begun, self._depth = time.perf_counter(), 1
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            # A statement may have rolled back the whole by itself (no room left, an I/O error).
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0
            self.held = time.perf_counter() - self.begun
            self.longest = max(self.longest, self.held)

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        name = f"tenantry_{self._depth}"
        self.execute(f"SAVEPOINT {name}")
        self._depth += 1
        try:
            yield
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute(f"ROLLBACK TO {name}")
                self._connection.execute(f"RELEASE {name}")
            raise
        else:
            self.execute(f"RELEASE {name}")
        finally:
            self._depth -= 1

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the file as it is now until the end of the context; in a transaction it is that one's view.

        In WAL mode it blocks nobody, however long it lasts; it only keeps the WAL from being used again.

        Raises:
            FileBusyError: not in WAL mode, and a writer was in the way.
        """
        if self._connection.in_transaction:
            yield
            return
        self.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")


def connect(url: str, *, busy_seconds: float = BUSY_SECONDS) -> File:
    """Open the file of a resolved address.

    Raises:
        GivenWrongError: the address can't be read.
        UnreachableError: no such file, not ours to open, or no database.
    """
    path = path_of(url)
    try:
        file = File(path, busy_seconds=busy_seconds)
        for setting in _SESSION:
            file.execute(setting)
        # Read once: whether it is a database at all shows only then.
        file.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except FileBusyError:
        raise
    except sqlite3.Error as error:
        reason = str(error) if path.exists() else "no such file"
        raise UnreachableError(f"SQLite {path}", reason) from None
    return file
