"""A terminal that a command is typed on: a real one, of the kernel's, with a shell's manners.

Run as a program it is what a shell is to its command: the leader of the terminal's session, which takes the
terminal back when Ctrl-Z stops the command, and gives it again once a line is typed.
"""

import fcntl
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.waiting import until

#: What the shell says while its command is stopped.
STOPPED = "the command is stopped"
_STYLE = re.compile(r"\x1b\[[\d;]*m")
_SCREEN, _NO_SCREEN = "\x1b[?1049h", "\x1b[?1049l"


class Terminal:
    """The keyboard and the paper of a command: `said` is all that it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], ours: int, theirs: int) -> None:
        self.process = process
        self.before = termios.tcgetattr(theirs)
        self._ours, self._theirs = ours, theirs
        self._read = b""
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                read = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                return
            self._read += read

    @property
    def said(self) -> str:
        """All that was written so far."""
        return self._read.decode(errors="replace")

    @property
    def settings(self) -> list[Any]:
        """The terminal's settings now; `before` has those that the command found."""
        return termios.tcgetattr(self._theirs)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def restore(self) -> None:
        """Give the terminal its settings of before, as a shell does when it is its own again."""
        termios.tcsetattr(self._theirs, termios.TCSANOW, self.before)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window larger or smaller."""
        termios.tcsetwinsize(self._ours, (rows, columns))

    def shows(self, text: str) -> str:
        """Wait until what is written from now on has a text; all of that."""
        begun = len(self.said)
        until(lambda: text in self.said[begun:], f"{text!r} on the screen")
        return self.said[begun:]

    def drawn(self) -> None:
        """Wait for two more whole views."""
        until(lambda: self.said.count(_SCREEN) > self.said.count(_NO_SCREEN), "the screen")
        for _ in range(2):
            self.shows("\x1b[H")

    def left(self) -> str:
        """What is on the terminal below the screen that was left, without its colours."""
        said = self.said
        assert said.count(_SCREEN) == said.count(_NO_SCREEN) > 0
        return _STYLE.sub("", said.rpartition(_NO_SCREEN)[2])

    def ends(self) -> int:
        """Wait for the command's end; its exit status."""
        status = self.process.wait(60)
        os.write(self._theirs, b"\x04")  # all that it wrote stands before this
        until(lambda: self._read.endswith(b"\x04"), "the end of what it wrote")
        self._read = self._read[:-1]
        return status


@contextmanager
def terminal(
    command: Sequence[str | Path], *, folder: Path, environment: Mapping[str, str], size: tuple[int, int]
) -> Iterator[Terminal]:
    """Type a command on a terminal of so many columns and rows; it is interrupted if it goes on."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (size[1], size[0]))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.terminal", *map(str, command)],
        cwd=Path(__file__).parents[2],
        env={**environment, "TENANTRY_TEST_FOLDER": str(folder)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    try:
        yield Terminal(process, ours, theirs)
    finally:
        process.terminate()
        process.wait(60)
        os.close(theirs)
        os.close(ours)


def _shell(command: Sequence[str]) -> int:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it is allowed to give the terminal away

    def in_front() -> None:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)

    child = subprocess.Popen(command, cwd=os.environ["TENANTRY_TEST_FOLDER"], preexec_fn=in_front)  # noqa: PLW1509  # a shell of one thread
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.killpg(child.pid, signal.SIGTERM))
    while True:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode
        os.tcsetpgrp(0, os.getpgrp())
        sys.stdout.write(f"{STOPPED}\r\n")
        sys.stdout.flush()
        sys.stdin.readline()
        os.tcsetpgrp(0, child.pid)
        os.killpg(child.pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(_shell(sys.argv[1:]))
