"""`status --watch` on a terminal of its own: the whole screen, and keys.

Two threads speak with the database, one that looks and one that does what is pressed, so that neither a
server that is away nor a record that somebody holds keeps the screen from being drawn and q from ending it.
"""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from rich.console import Console, Group
from rich.live import Live

from control.plan.model import Plan
from control.watch import sight
from control.watch.follow import LOOK_EVERY, Asker
from control.watch.keyboard import Read, keyboard
from control.watch.pressed import Hand, act, told
from control.watch.render import render
from control.watch.screen import Shown, screen
from control.watch.view import View
from sql.database import connect, describe
from sql.postgres.connection import resolve

#: Seconds that what is being asked or done has to end in once the screen is left.
_PATIENCE = 1.0
_QUIT = "q"


def fits(console: Console) -> bool:
    """Whether there is a terminal to draw on that can be, and one to press keys on."""
    return console.is_interactive and sys.stdout.isatty() and sys.stdin.isatty()


class Lookout:
    """Looks again and again from a thread; `seen` is what it saw last, `away` why it sees nothing now."""

    def __init__(self, url: str, migration: str) -> None:
        self._asker = Asker(url, partial(sight.read, migration=migration))
        with closing(connect(url, "status")) as connection:
            self.seen = sight.read(connection, migration)
        self.away: str | None = None
        self.broken: Exception | None = None
        self._since = datetime.now(UTC)

    @contextmanager
    def at_work(self, patience: float) -> Iterator[None]:
        """Look for as long as the body runs, and once more; that has `patience` seconds to end."""
        ended = threading.Event()
        thread = threading.Thread(target=self._work, args=(ended.wait,), name="tenantry lookout", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(patience)

    def _work(self, wait: Callable[[float], bool]) -> None:
        over = False
        try:
            while not over:
                over = wait(LOOK_EVERY)
                self._look()
        except Exception as error:  # noqa: BLE001  # it would end without a word: whoever draws raises it again
            self.broken = error
        finally:
            self._asker.close()

    def _look(self) -> None:
        found, failed = self._asker(), self._asker.failed
        if failed is not None:
            self.away = f"■ as it was at {self._since:%H:%M:%S}: {told(failed)}"
        elif found is not None:
            self.seen, self._since, self.away = found, datetime.now(UTC), None


def watch(file: Path, plan: Plan, console: Console) -> None:
    """Show a migration until it is complete or q is pressed, and leave its last view on the terminal.

    Raises:
        NoMigrationError: the ledger doesn't know it.
        UnreachableError: its database does not answer when it begins.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP; the terminal is as it was by then.
    """
    url = plan.database.url.get_secret_value()
    where = describe(resolve(url))
    lookout, keys = Lookout(url, plan.name), Hand(partial(act, file=file))
    with ExitStack() as stack:
        stack.callback(_leave, lookout, keys, console)
        stack.enter_context(lookout.at_work(_PATIENCE))
        stack.enter_context(keys.at_work(_PATIENCE))
        try:
            while (broken_off := _watched(lookout, keys, where, console)) is not None:
                if broken_off == signal.SIGTSTP:
                    os.kill(os.getpid(), signal.SIGTSTP)  # the terminal is the shell's, until `fg`
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise KeyboardInterrupt from None  # hung up; leaving the screen found the terminal gone


def _leave(lookout: Lookout, keys: Hand, console: Console) -> None:
    """Print the last view as `status` does, with what a key did last."""
    with suppress(OSError):  # the terminal may be gone
        console.print(render(View(lookout.seen.status, datetime.now(UTC))))
        for line in (lookout.away, keys.said):
            if line:
                console.print(line, markup=False, soft_wrap=True)


def _watched(lookout: Lookout, keys: Hand, where: str, console: Console) -> int | None:
    """Draw and obey until it is over; else by what signal it was broken off, after which it is drawn anew."""
    with (
        _broken_off() as signals,
        keyboard(sys.stdin.fileno()) as read,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while not signals:
            if lookout.broken is not None:
                raise lookout.broken
            live.update(_drawn(lookout, keys, where, console), refresh=True)
            if lookout.seen.status.state == "complete" or _pressed(read, keys):
                return None
        return signals[0]


def _drawn(lookout: Lookout, keys: Hand, where: str, console: Console) -> Group:
    # Of the terminal itself: rich would believe COLUMNS and LINES, which stay when the window is resized.
    with suppress(OSError):
        size = os.get_terminal_size(sys.stdout.fileno())
        if size.columns and size.lines:
            console.size = size
    shown = Shown(lookout.seen, datetime.now(UTC), where, lookout.away, keys.said)
    return Group(*screen(shown, console.width, console.height))


def _pressed(read: Read, keys: Hand) -> bool:
    """Obey what is pressed by the time of the next look; whether that was the end."""
    try:
        pressed = read(LOOK_EVERY)
    except EOFError:
        return True
    for key in pressed:
        if key == _QUIT:
            return True
        keys.press(key)
    return False


@contextmanager
def _broken_off() -> Iterator[list[int]]:
    """Note a Ctrl-Z instead of stopping at once, with a terminal that is not yet as it was.

    And SIGCONT, for after SIGSTOP, which nobody can catch, a shell has made the terminal its own.
    """
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTSTP, signal.SIGCONT)}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
