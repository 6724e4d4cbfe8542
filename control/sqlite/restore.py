"""Brings the copy of a SQLite file back, into its own file or another, and over nothing without a word.

By the backup API, into the file as it stands: a process that has it open sees the rows of before at its next
statement, while a new file under the old name would leave it writing to one that nobody sees any more.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from control import backup
from control.restore import Restored, over_nothing
from control.sqlite.backup import address, room_for
from sql.database import describe
from sql.errors import AnotherRunError, BackupError, GivenWrongError
from sql.postgres.connection import resolve
from sql.sqlite import catalog, copying
from sql.sqlite.connection import File, connect, path_of
from sql.sqlite.session import take_migrations
from worker import version


def restore(
    path: Path,
    into: str,
    *,
    overwrite: bool = False,
    notify: Callable[[str], None],
    go_on: Callable[[], None] = lambda: None,
) -> Restored:
    """Check the copy against its checksum, then bring it into the file at `into` (or `env:NAME`).

    One transaction, all of it or nothing; a file that is not there is made. `overwrite` replaces all that is
    in the file, ours too.

    Raises:
        GivenWrongError: no such copy, or tables are there and `overwrite` isn't given.
        BackupError: it isn't what was written, or there is no room.
        AnotherRunError: a run is at work on that file.
        FileBusyError: a writer was in the way for half a minute.
        LedgerVersionError: a later program has a migration in that file.
    """
    kept = backup.read(path)
    if not _is_file(path):
        raise GivenWrongError(
            f"{path} is no copy of a SQLite file; give the plan of the database that it is of"
        )
    notify(f"checking {path}, {kept.bytes / 1e6:,.0f} MB")
    backup.check(kept, go_on)
    target = path_of(resolve(into))
    made = not target.exists()
    try:
        if made:
            target.touch(exist_ok=False)
        with connect(address(target)) as file, take_migrations(file.path) as holder:
            tables = _in_the_way(file, kept, holder)
            version.not_newer(file)
            if not overwrite:
                over_nothing(describe(resolve(into)), tables)
            _bring(path, file, kept.bytes, notify, go_on)
            brought = len(catalog.read(file).tables)
    except OSError as error:
        raise GivenWrongError(f"{target} can't be written: {error.strerror}") from None
    except BaseException:
        if made:
            target.unlink(missing_ok=True)
        raise
    return Restored(str(path), describe(resolve(into)), brought, bool(tables))


def _in_the_way(file: File, kept: backup.Backup, holder: str | None) -> list[str]:
    if holder is not None:
        raise AnotherRunError(Path(kept.path).name, holder)
    there = catalog.read(file)
    return [*there.tables, *there.others]


def _is_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return opened.read(len(copying.HEADER)) == copying.HEADER


def _bring(
    path: Path, file: File, size: int, notify: Callable[[str], None], go_on: Callable[[], None]
) -> None:
    # What is in WAL mode has it twice for a while, in the WAL and in the file.
    room_for(size * 2, file.path, "restore into a file elsewhere with --into")
    notify(f"restoring into {file.path}: others' writes wait until the end")
    with copying.still(path) as source:
        with closing(source.execute(copying.STATEMENTS.page_size.text)) as asked:
            pages = int(asked.fetchone()[0])
        other_pages = pages != copying.page_size(file)
        if other_pages and copying.is_wal(file) and not copying.leave_wal(file):
            raise BackupError(
                f"{path} has pages of {pages} bytes and {file.path} others, which a file in WAL mode can "
                "only be given while nobody has it open; stop the application, or restore with --into"
            )
        copying.copy_in(source, file, go_on=go_on, notify=notify)
