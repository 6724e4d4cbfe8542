"""A command on a file that is killed with SIGKILL at a point that the environment names.

`armed` is called in the command's process before it begins. A point is a number: of the statements of the
process's main thread that change something or end a transaction, the one that it is killed before; or, with
`op` before it, how many thousands of the operations of SQLite's virtual machine go before, so that it is
killed in the middle of a statement too. `BEHIND_THE_SWITCH` is before the first statement that follows the
commit in which tables took each other's places. Without a point nobody is killed, and what there was is
written down.
"""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.integration.typist import typed

_AT, _LOG = "TENANTRY_TEST_KILLED_AT", "TENANTRY_TEST_STATEMENTS"
_READS = ("SELECT", "WITH", "PRAGMA", "EXPLAIN", "VALUES", "--")
_OPERATIONS = 1_000
_SWITCH = "UPDATE sqlite_schema"
BEHIND_THE_SWITCH = "switch"
_ARMED = "tests.integration.sqlite.killing:armed"


def killed(arguments: Sequence[str], folder: Path, at: str) -> bool:
    """Run a command that is killed at a point; whether it got that far."""
    ended = typed(arguments, folder=folder, environment=_environment({_AT: at}), first=_ARMED)
    if ended.returncode == -signal.SIGKILL:
        return True
    assert ended.returncode in {0, 3}, ended.stderr
    return False


def ended(arguments: Sequence[str], folder: Path) -> int:
    """Run a command to its end, or to a gate that is closed: its exit status."""
    done = typed(arguments, folder=folder, environment=_environment({}))
    assert done.returncode in {0, 3}, done.stderr
    return done.returncode


def points(arguments: Sequence[str], folder: Path) -> list[str]:
    """Run a command to its end: every point at which it could have been killed."""
    log = folder / "statements"
    typed_ = typed(arguments, folder=folder, environment=_environment({_LOG: str(log)}), first=_ARMED)
    assert typed_.returncode in {0, 3}, typed_.stderr
    seen = log.read_text().splitlines()
    log.unlink()
    statements = seen.count("statement")
    return [
        *(str(point) for point in range(1, statements + 1)),
        *(f"op{point}" for point in range(1, len(seen) - statements + 1)),
    ]


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **more}


class _Fuse:
    """What counts up to the point; `told` is written what there was."""

    def __init__(self, at: str, told: TextIO | None) -> None:
        number = 0 if at in {"", BEHIND_THE_SWITCH} else int(at.removeprefix("op"))
        self._left = {"operations" if at.startswith("op") else "statement": number}
        self._way = [_SWITCH, "COMMIT", ""] if at == BEHIND_THE_SWITCH else []
        self._told = told

    def burn(self, what: str, text: str) -> None:
        """Come nearer by an operation or a statement; at the point nothing comes after it."""
        if self._told is not None:
            self._told.write(f"{what}\n")
        reached = self._left.get(what) == 1
        self._left[what] = self._left.get(what, 0) - 1
        if self._way and text.startswith(self._way[0]):
            del self._way[0]
            reached = not self._way
        if reached:
            os.kill(os.getpid(), signal.SIGKILL)


def armed() -> None:
    """Kill this process where its environment says, or write down where it could be killed."""
    log = os.environ.get(_LOG)
    told = Path(log).open("a", buffering=1) if log else None  # noqa: SIM115  # it ends with the process
    main, fuse = threading.current_thread(), _Fuse(os.environ.get(_AT, ""), told)

    def sent(text: str) -> None:
        if threading.current_thread() is main and not text.lstrip().upper().startswith(_READS):
            fuse.burn("statement", text)

    def at_work() -> None:
        if threading.current_thread() is main:
            fuse.burn("operations", "")

    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(sent)
        connection.set_progress_handler(at_work, _OPERATIONS)
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]
