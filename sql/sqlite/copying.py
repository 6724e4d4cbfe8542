"""Copies a whole file into another by SQLite's online backup API, and looks whether one is whole.

From a file in WAL mode one snapshot is copied, beside every reader and writer; meanwhile the WAL can't begin
anew, and grows by what is written. In any other mode a snapshot would keep writers out, so that there each
step stands alone, and whoever writes between two makes the copy begin again: so many times, and no more.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from urllib.parse import quote

from sql.errors import BackupError, FileBusyError
from sql.named import load
from sql.sqlite import integrity
from sql.sqlite.connection import File, is_busy
from sql.sqlite.failure import refused

STATEMENTS = load(Path(__file__).parent, "copying")

#: Pages to a step: about a megabyte, after which others have their turn.
PAGES = 256
#: So many times a copy begins again, because somebody wrote to a file that is not in WAL mode.
RESTARTS = 20
#: Seconds without a step that went through, before whoever is in the way is told of; and between two tries.
_PATIENCE, _TRY_EVERY = 30.0, 0.05
#: Seconds between two looks whether the copy may go on; and between two lines about how far it is.
_LOOK_EVERY, _TELL_EVERY = 0.5, 5.0
#: Instructions of SQLite's between two looks, in what is one statement: some milliseconds.
_INSTRUCTIONS = 100_000

#: Faults that are told.
_MOST = 20

#: How every database of SQLite's begins.
HEADER = b"SQLite format 3\0"

GoOn = Callable[[], None]
Notify = Callable[[str], None]


def size(file: File) -> int:
    """How large a copy of the file will be; bytes."""
    return int(file.value(STATEMENTS.size.text))


def page_size(file: File) -> int:
    """The size of its pages; bytes."""
    return int(file.value(STATEMENTS.page_size.text))


def is_wal(file: File) -> bool:
    """Whether it is in WAL mode."""
    return bool(file.value(STATEMENTS.journal_mode.text) == "wal")


def leave_wal(file: File) -> bool:
    """Take it out of WAL mode; False where another process has it open."""
    try:
        return bool(file.value(STATEMENTS.without_wal.text) == "delete")
    except FileBusyError:
        return False


@contextmanager
def still(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file that nobody writes to, such as a backup: nothing is made beside it to read it."""
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


def copy_out(source: File, target: File, *, go_on: GoOn, notify: Notify) -> None:
    """Copy all of `source`, which is in use, into `target`, which is not. `go_on` is asked twice a second.

    Raises:
        BackupError: not in WAL mode, and written to again and again.
        FileBusyError: a writer was in the way for half a minute.
        ServerError: no room, or the disk fails.
    """
    with source.snapshot() if is_wal(source) else nullcontext():
        source.execute(STATEMENTS.look.text).fetchone()
        _copy(source.raw, target.raw, source.path, go_on, notify)


def copy_in(source: sqlite3.Connection, target: File, *, go_on: GoOn, notify: Notify) -> None:
    """Copy all of `source` over all of `target`, which may be in use: whoever has it open sees the new rows.

    It is one transaction, all or nothing, and others' writes wait until its end.

    Raises:
        FileBusyError: a writer was in the way for half a minute.
        ServerError: no room, or the disk fails.
    """
    _copy(source, target.raw, target.path, go_on, notify)


def _copy(
    source: sqlite3.Connection, target: sqlite3.Connection, path: Path, go_on: GoOn, notify: Notify
) -> None:
    try:
        source.backup(target, pages=PAGES, progress=_Course(path, go_on, notify), sleep=_TRY_EVERY)
    except sqlite3.Error as error:
        if is_busy(error):
            raise FileBusyError(str(path), str(error)) from error
        raise refused(f"copying {path}", error) from error


class _Course:
    """What is asked after each step, with the pages that are left and all there are."""

    def __init__(self, path: Path, go_on: GoOn, notify: Notify) -> None:
        self._path = path
        self._go_on = go_on
        self._notify = notify
        self._left: int | None = None
        self._restarts = 0
        self._stepped = self._looked = self._told = time.monotonic()

    def __call__(self, status: int, left: int, pages: int) -> None:
        now = time.monotonic()
        if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            if now > self._stepped + _PATIENCE:
                raise FileBusyError(str(self._path), "database is locked")
        else:
            self._stepped = now
            self._count(left)
        if now > self._looked + _LOOK_EVERY:
            self._looked = now
            self._go_on()
        if now > self._told + _TELL_EVERY and pages:
            self._told = now
            self._notify(f"copied {1 - left / pages:.0%} of {pages:,} pages")

    def _count(self, left: int) -> None:
        if self._left is not None and left >= self._left:  # each step takes some, unless it began again
            self._restarts += 1
        self._left = left
        if self._restarts > RESTARTS:
            raise BackupError(
                f"{self._path} was written to again and again while it was copied, and is not in WAL mode; "
                "set it to that (PRAGMA journal_mode = WAL), or copy it in a quiet hour"
            )


def faults(file: File, go_on: GoOn = lambda: None) -> list[str]:
    """What `integrity_check` finds wrong; nothing where the file is whole.

    `go_on` is asked meanwhile, and must not use this connection.
    """
    stopped: list[BaseException] = []
    looked = time.monotonic()

    def look() -> int:
        nonlocal looked
        if time.monotonic() < looked + _LOOK_EVERY:
            return 0
        looked = time.monotonic()
        try:
            go_on()
        except BaseException as error:  # noqa: BLE001  # the driver would swallow it: raised again below
            stopped.append(error)
            return 1
        return 0

    file.raw.set_progress_handler(look, _INSTRUCTIONS)
    try:
        return integrity.faults(file, most=_MOST)
    except sqlite3.OperationalError:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        file.raw.set_progress_handler(None, 0)
