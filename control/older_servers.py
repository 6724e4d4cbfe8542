"""Restores into a server older than the `pg_restore` at hand.

From PostgreSQL 17 on `pg_restore` begins with `SET transaction_timeout = 0`, which earlier servers refuse,
and no option leaves it out. So it writes its script, and `psql` of the same folder takes that in without the
line, in one transaction.
"""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from control.client_programs import failed, let_run, version_of
from sql.errors import BackupError

#: The first version whose programs set it, and whose servers know it.
_SINCE = 17
_SETTING = b"SET transaction_timeout = 0;\n"
#: It stands among the settings at the top; further down such a line is somebody's data.
_TOP = 100
#: What ends the transaction with an error where the script broke off, were it within the rows of a COPY.
_BROKEN_OFF = b"\n\\.\n;\nDO $$ BEGIN RAISE EXCEPTION 'the script broke off'; END $$;\n"
_PIECE = 1 << 20


def refuses(folder: Path, server_version: int) -> bool:
    """Whether a server would refuse what `pg_restore` of this folder begins with."""
    return server_version // 10_000 < _SINCE <= version_of(folder / "pg_restore")


def restore_by_script(
    folder: Path,
    path: Path,
    into: str,
    *,
    options: Sequence[str],
    more: Mapping[str, str],
    go_on: Callable[[], None],
) -> None:
    """Have `pg_restore` write its script, with `options`, and `psql` take it in; `into` says it where.

    All of it or nothing. `more` goes into the environment; it is ended where `go_on`, asked twice a second,
    raises.

    Raises:
        BackupError: one of them failed; the message ends with its own first error.
    """
    write = [str(folder / "pg_restore"), *options, "--file=-", str(path)]
    take_in = [
        *(str(folder / "psql"), "--no-psqlrc", "--no-password", "--quiet", "--single-transaction"),
        *("--set=ON_ERROR_STOP=1", into),
    ]
    with subprocess.Popen(  # noqa: S603  # a list, no shell; found on PATH or in the wheel
        write, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as writing:
        readable, writable = os.pipe()
        copying = threading.Thread(target=_copy, args=(writing, writable), name="tenantry restoring")
        copying.start()
        try:
            with os.fdopen(readable, "rb") as script:
                let_run(take_in, more, go_on, given=script)
        except BackupError as error:
            copying.join()
            if writing.wait() > 0 and writing.stderr is not None:
                said = writing.stderr.read().decode(errors="replace")
                raise failed(write, writing.returncode, said) from error
            raise
        except BaseException:
            writing.terminate()
            raise
        finally:
            copying.join()


def _copy(writing: "subprocess.Popen[bytes]", writable: int) -> None:
    if writing.stdout is None:
        return
    with os.fdopen(writable, "wb") as script:
        try:
            _without_setting(writing.stdout, script)
            if writing.wait() != 0:
                script.write(_BROKEN_OFF)
            script.flush()
        except BrokenPipeError:
            # psql is gone, and has said why; nobody reads the rest.
            writing.terminate()


def _without_setting(written: IO[bytes], script: IO[bytes]) -> None:
    for _ in range(_TOP):
        line = written.readline()
        if line == _SETTING:
            break
        script.write(line)
    while piece := written.read(_PIECE):
        script.write(piece)
