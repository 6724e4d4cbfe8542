"""Shows a migration while it goes on: live on a terminal, elsewhere a line whenever something changes.

`control.watch.render` turns a `Status` into what is shown; `follow` asks for it four times a second. Beside a
`run` the display lives in a thread with a connection of its own, so that it goes on while the conductor
waits for a lock.
"""

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

import psycopg
from rich.console import Console
from rich.live import Live

from control import status
from control.watch.lines import changes, progress
from control.watch.render import render
from control.watch.view import View
from sql.database import Database, connect
from sql.errors import FileBusyError, LedgerVersionError, NoMigrationError, UnreachableError

#: Seconds between two looks.
LOOK_EVERY = 0.25
#: Seconds between two lines of progress where there is no terminal.
SAY_EVERY = 5.0
#: How many notices are kept between two looks.
_KEPT = 500
#: What comes in place of an answer, beside what the databases' drivers raise.
_NO_ANSWER = (NoMigrationError, LedgerVersionError, UnreachableError, FileBusyError)

Answer = TypeVar("Answer")
Look = Callable[[], View]
Wait = Callable[[float], bool]


def follow(look: Look, console: Console, wait: Wait) -> None:
    """Show what `look` sees until `wait(seconds)` says that it is over; what it sees then is shown last."""
    # One that can't go back in its lines (TERM=dumb) would show nothing before the end.
    if console.is_interactive:
        _draw(look, console, wait)
    else:
        _say(look, console, wait)


def _draw(look: Look, console: Console, wait: Wait) -> None:
    with Live(console=console, auto_refresh=False, transient=False) as live:
        over = False
        while not over:
            over = wait(LOOK_EVERY)
            live.update(render(look()), refresh=True)


def _say(look: Look, console: Console, wait: Wait) -> None:
    shown: View | None = None
    told: View | None = None
    over = False
    while not over:
        over = wait(LOOK_EVERY)
        view = look()
        lines = changes(shown, view)
        if over or told is None or (view.now - told.now).total_seconds() >= SAY_EVERY:
            lines += [line for line in progress(told, view) if line not in lines]
            if lines and view.application is not None:
                lines.append(view.application)
            told = view
        for line in lines:
            console.print(f"{view.now:%H:%M:%S}  {line}", markup=False, highlight=False, soft_wrap=True)
        shown = view


@dataclass(slots=True)
class Notices:
    """What the conductor says; called from its thread, and from the one that watches its locks."""

    said: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _saying: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, line: str) -> None:
        """Keep one line."""
        with self._saying:
            self.lines.append(line)
            self.said += 1

    def so_far(self) -> tuple[tuple[str, ...], int]:
        """Give the last lines, oldest first, and how many there were in all."""
        with self._saying:
            return tuple(self.lines), self.said


def _no_application() -> None:
    return None


class Asker(Generic[Answer]):
    """Asks a database on a connection of its own; without an answer the one before stands."""

    def __init__(self, url: str, ask: Callable[[Database], Answer]) -> None:
        self.last: Answer | None = None
        self.failed: Exception | None = None
        """Why there was no answer to the last question."""
        self._url = url
        self._ask = ask
        self._connection: Database | None = None

    def __call__(self) -> Answer | None:
        """Ask once."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url, "status", statement_timeout_ms=2_000)
            self.last = self._ask(self._connection)
            self.failed = None
        except (*_NO_ANSWER, psycopg.Error, sqlite3.Error) as error:
            # Not begun, already forgotten, upgraded meanwhile, or the server is away: the display goes on.
            self.failed = error
        return self.last

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()


class Looker:
    """Reads the status; without an answer it shows what it saw last: the conductor says why."""

    def __init__(
        self,
        url: str,
        migration: str,
        *,
        notices: Notices | None = None,
        application: Callable[[], str | None] = _no_application,
    ) -> None:
        self._asker = Asker(url, lambda connection: status.read(connection, migration))
        self._notices = notices or Notices()
        self._application = application

    @property
    def last(self) -> status.Status | None:
        """The last status that there was an answer to."""
        return self._asker.last

    def __call__(self) -> View:
        """Look once."""
        found = self._asker()
        notices, said = self._notices.so_far()
        return View(found, datetime.now(UTC), self._application(), notices, said)

    def close(self) -> None:
        """Give the connection back."""
        self._asker.close()


@contextmanager
def shown(
    url: str, migration: str, console: Console, *, application: Callable[[], str | None] = _no_application
) -> Iterator[Notices]:
    """Show a migration from a thread for as long as the body runs, and its end; gives where to say notices.

    `url` may be `env:NAME`; `application` gives a line about the application, or None.
    """
    notices = Notices()
    look = Looker(url, migration, notices=notices, application=application)
    ended = threading.Event()
    thread = threading.Thread(
        target=follow, args=(look, console, ended.wait), name="tenantry display", daemon=True
    )
    thread.start()
    try:
        yield notices
    finally:
        ended.set()
        thread.join()
        look.close()
