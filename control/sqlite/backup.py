"""A copy of a SQLite file by the online backup API, without the ledger, checked by `integrity_check`."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from control.backup import Backup, checksum, finish, write_over_nothing
from sql.errors import BackupError, GivenWrongError
from sql.ledger import LEDGER, send
from sql.postgres.connection import resolve
from sql.sqlite import catalog, copying
from sql.sqlite.connection import SCHEME, File, connect
from sql.sqlite.facts import Catalog

#: SQLite's own number of its version, as it stands in every file: 3040001 for 3.40.1.
VERSION = sum(
    part * scale for part, scale in zip(sqlite3.sqlite_version_info, (1_000_000, 1_000, 1), strict=True)
)
#: What SQLite may leave beside a file that it was stopped in.
_BESIDE = ("-wal", "-shm", "-journal")


def identity(file: File) -> str:
    """Which file it is."""
    return str(file.path.resolve())


def address(path: Path) -> str:
    """The address of a file."""
    return f"{SCHEME}{path}"


def copy(
    url: str,
    path: Path,
    original: Catalog,
    *,
    go_on: Callable[[], None] = lambda: None,
    notify: Callable[[str], None] = lambda _line: None,
) -> Backup:
    """Write a copy of the whole file but the ledger to `path`, and check it. `url` may be `env:NAME`.

    It appears under its name only when it is whole. `go_on` is asked twice a second; what it raises ends the
    copy and leaves nothing.

    Raises:
        GivenWrongError: it is there already, or can't be written.
        BackupError: no room for it; not in WAL mode and always written to; or it isn't whole.
        FileBusyError: a writer was in the way for half a minute.
    """
    write_over_nothing(path)
    unfinished = path.with_name(path.name + ".unfinished")
    taken_at = datetime.now(UTC)
    try:
        with connect(resolve(url)) as source:
            room_for(copying.size(source), path, "name another [backup] path")
            _take_away(unfinished)
            unfinished.touch(mode=0o600)
            with connect(address(unfinished)) as target:
                copying.copy_out(source, target, go_on=go_on, notify=notify)
                send(target, LEDGER.drop)
                _whole(target, original, go_on)
            # Closed by now, so that all of it is in the one file.
            taken = Backup(
                path=str(path),
                bytes=unfinished.stat().st_size,
                sha256=checksum(unfinished, go_on),
                tables=tuple(original.tables),
                server_version=VERSION,
                database=identity(source),
                taken_at=taken_at,
            )
        finish(unfinished, taken)
    except OSError as error:
        raise GivenWrongError(f"{path} can't be written: {error.strerror}") from None
    finally:
        _take_away(unfinished)
    return taken


def _take_away(unfinished: Path) -> None:
    """Take away what a copy left that was not finished, or whoever was killed at one."""
    for left in (unfinished, *(unfinished.with_name(unfinished.name + end) for end in _BESIDE)):
        with suppress(OSError):  # said by whoever writes there
            left.unlink(missing_ok=True)


def room_for(needed: int, path: Path, way_out: str) -> None:
    """See that a disk has room for so many bytes.

    Raises:
        BackupError: it hasn't.
        OSError: there is no such folder.
    """
    free = shutil.disk_usage(path.absolute().parent).free
    if free < needed:
        raise BackupError(
            f"{path} needs {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free there; make room, or "
            f"{way_out}"
        )


def _whole(target: File, original: Catalog, go_on: Callable[[], None]) -> None:
    if found := copying.faults(target, go_on):
        raise BackupError(
            f"the file itself is not whole, nor is its copy: {found[0]}; bring back an older one"
        )
    there = catalog.read(target)
    if missing := [name for name in original.tables if there.find(name) is None]:
        raise BackupError(f"the copy has no {', '.join(missing)}: somebody dropped it meanwhile; look again")
