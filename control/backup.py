"""A backup by `pg_dump`, checked: its contents are listed, and its checksum is kept beside it.

A backup is a file (`pg_dump -Fc`) or, written by several jobs at once, a folder. Beside `graph.dump` stands
`graph.dump.json`: what it holds, and its checksum, for whoever restores it when this database is gone. What
stands there is the same for a SQLite file, whose copy `control.sqlite.backup` takes.
"""

import hashlib
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from control.client_programs import beyond_environment, environment, let_run, run, tools
from control.jobs import parts
from sql.errors import BackupError, GivenWrongError
from sql.postgres.facts import Catalog

#: How much of a backup is read between two looks whether the run may go on; bytes, 0.1 s or so.
_BLOCK = 64 * 2**20
#: The ledger isn't part of it: a restored database has not been migrated.
LEDGER_SCHEMA = "tenantry"
#: From this age on a backup lacks more than a day's writes.
OLD = timedelta(days=1)

#: A line of `pg_restore --list` about a table (1259 is pg_class): `217; 1259 16387 TABLE public edge owner`.
_TABLE = re.compile(r"\d+; 1259 \d+ TABLE (?P<table>.+)")


class Backup(BaseModel):
    """A finished backup; `sha256` in hexadecimal, `tables` are those of the plan that were found in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str
    tables: tuple[str, ...]
    server_version: int
    """SQLite's own, as 3040001, for a copy of a file."""
    database: str
    """Which one it is of, as `surroundings.identity` tells; a file's path."""
    taken_at: datetime

    @property
    def age(self) -> timedelta:
        """How long ago it was taken."""
        return datetime.now(UTC) - self.taken_at


def beside(path: Path) -> Path:
    """Name the file that tells what a backup is."""
    return path.with_name(path.name + ".json")


def read(path: Path) -> Backup:
    """Read what stands beside a backup; whether the backup is still that is `check`'s to say.

    Raises:
        GivenWrongError: there is no such backup, or nothing beside it tells its checksum.
    """
    try:
        there = bool(path.name) and path.exists()
    except OSError as error:
        raise GivenWrongError(f"{path} can't be read: {error.strerror}") from None
    if not there:
        raise GivenWrongError(f"there is no backup {path}; `tenantry backup` takes one")
    try:
        kept = Backup.model_validate_json(beside(path).read_bytes())
    except (OSError, ValidationError):
        raise GivenWrongError(
            f"{beside(path)}, which tells its checksum, is not there or can't be read; bring it back, or "
            "restore by pg_restore, or for a SQLite file by cp, what you trust without it"
        ) from None
    # By the name it has now: both may have been moved together.
    return kept.model_copy(update={"path": str(path)})


def check(backup: Backup, go_on: Callable[[], None]) -> None:
    """Read the whole backup once, and see that it is what was written. `go_on` is asked meanwhile.

    Raises:
        GivenWrongError: it can't be read, or is neither a file nor a folder.
        BackupError: it is not.
    """
    path = Path(backup.path)
    if not path.is_file() and not path.is_dir():  # a pipe would keep us for ever
        raise GivenWrongError(f"{path} is no file, and no folder of one; name a backup")
    try:
        found = checksum(path, go_on)
    except OSError as error:
        raise GivenWrongError(f"{path} can't be read: {error.strerror}") from None
    if found != backup.sha256:
        raise BackupError(
            f"{backup.path} is not what was written: its checksum was {backup.sha256} and is {found}; "
            "restore another one, or move it away and let `tenantry backup` take a new one"
        )


def dump(
    url: str,
    path: Path,
    original: Catalog,
    *,
    jobs: int = 1,
    database: str = "",
    go_on: Callable[[], None] = lambda: None,
) -> Backup:
    """Write a backup of the whole database but the ledger to `path`, and check it.

    It appears under its name only when it is whole. More than one of `jobs` make a folder, a file for each
    table. `url` may be `env:NAME`; `database` is the identity that is kept. `go_on` is asked twice a second;
    what it raises ends `pg_dump` and leaves nothing.

    Raises:
        GivenWrongError: it is there already, or can't be written.
        BackupError: no fitting `pg_dump`, it failed, or a table of the plan isn't in what it wrote.
    """
    folder = tools(original.server_version)
    write_over_nothing(path)
    unfinished = path.with_name(path.name + ".unfinished")
    taken_at = datetime.now(UTC)
    try:
        _make_private(unfinished, jobs)
        rest = beyond_environment(url)
        let_run(
            [
                str(folder / "pg_dump"),
                *(["--format=directory", f"--jobs={jobs}"] if jobs > 1 else ["--format=custom"]),
                "--no-password",
                "--lock-wait-timeout=60s",
                f"--exclude-schema={LEDGER_SCHEMA}",
                f"--file={unfinished}",
                *([f"--dbname={rest}"] if rest else []),
            ],
            environment(url),
            go_on,
        )
        taken = Backup(
            path=str(path),
            bytes=sum(file.stat().st_size for file in _files(unfinished)),
            sha256=checksum(unfinished, go_on),
            tables=_listed(folder, unfinished, original),
            server_version=original.server_version,
            database=database,
            taken_at=taken_at,
        )
        finish(unfinished, taken)
    except OSError as error:
        if not path.parent.is_dir():
            raise GivenWrongError(f"there is no folder {path.parent}; make it, or name another") from None
        raise GivenWrongError(f"{path} can't be written: {error.strerror}") from None
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        with suppress(OSError):  # said already
            unfinished.unlink(missing_ok=True)
    return taken


def write_over_nothing(path: Path) -> None:
    """See that a backup can have its name.

    Raises:
        GivenWrongError: it, or what stands beside it, is there already.
    """
    for there in (path, beside(path)):
        if there.exists():
            raise GivenWrongError(f"{there} is there already; move it away, or name another [backup] path")


def finish(unfinished: Path, taken: Backup) -> None:
    """Give what is whole its name, and tell beside it what it is.

    Raises:
        OSError: that can't be written.
    """
    path = Path(taken.path)
    unfinished.rename(path)
    _write_private(beside(path), taken.model_dump_json(indent=2) + "\n")


def _make_private(path: Path, jobs: int) -> None:
    """Make what pg_dump writes into, readable by us alone: it would leave that to the umask."""
    if jobs > 1:
        path.mkdir(mode=0o700)
    else:
        path.touch(mode=0o600)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def _files(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else [path]


def checksum(path: Path, go_on: Callable[[], None]) -> str:
    """Tell the SHA-256 of a file; of a folder, of its files' names and contents, in order of the names."""
    digest = hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as written:
            while block := written.read(_BLOCK):
                digest.update(block)
                go_on()
    return digest.hexdigest()


def _listed(folder: Path, path: Path, original: Catalog) -> tuple[str, ...]:
    contents = run([str(folder / "pg_restore"), "--list", str(path)])
    # A partitioned table has no rows of its own; in a backup its partitions have them.
    missing = [
        name
        for name, table in original.tables.items()
        if any(f" TABLE DATA {part.schema_} {part.name} " not in contents for part in parts(table))
    ]
    if missing:
        raise BackupError(f"the backup holds no rows of {', '.join(missing)}; look at who may read them")
    return tuple(original.tables)


def tables_in(folder: Path, path: Path) -> list[str]:
    """List the tables that a backup would make, as `schema name owner`: nothing in it is quoted."""
    contents = run([str(folder / "pg_restore"), "--list", str(path)])
    return [match["table"] for line in contents.splitlines() if (match := _TABLE.match(line))]
