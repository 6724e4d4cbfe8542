"""Shows a migration while it goes on: live on a terminal, elsewhere a line whenever something changes.

`render` and `changes` are pure: they turn a `Status` into what is shown. `follow` asks for it four times a
second. Beside a `run` the display lives in a thread with a connection of its own, so that it goes on while
the conductor waits for a lock.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from control import status
from control.status import StageStatus, Status, TableStatus
from sql.errors import NoMigrationError, UnreachableError
from sql.postgres.connection import Connection, connect

#: Seconds between two looks.
LOOK_EVERY = 0.25
#: Seconds between two lines of progress where there is no terminal.
SAY_EVERY = 5.0
#: How many of the last notices a live display keeps in sight, and how many are kept between two looks.
_IN_SIGHT = 4
_KEPT = 500

_MARKS = {
    "open": ("·", "dim"),
    "running": ("▶", "bold cyan"),
    "waiting": ("‖", "bold yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}
_BAR_WIDTH = 28


@dataclass(frozen=True, slots=True)
class View:
    """What there is to show: no `status` before the ledger knows the migration."""

    status: Status | None
    now: datetime
    application: str | None = None
    """One line about the application, where there is one to tell about: its latency."""
    notices: tuple[str, ...] = ()
    """What the conductor said lately, oldest first."""
    said: int = 0
    """How much it has said in all."""


Look = Callable[[], View]
Wait = Callable[[float], bool]


def render(view: View) -> RenderableType:
    """Draw every stage with its state and time, a bar per table, and why nothing may go now."""
    if view.status is None:
        return Group(Text("starting …", style="dim"), *_said(view))
    parts: list[RenderableType] = [_title(view.status, view.now), _stages(view.status.stages, view.now)]
    if any(table.rows_total is not None for table in view.status.tables):
        parts.append(Padding(_tables(view.status.tables), (1, 0, 0, 0)))
    return Group(*parts, *_warnings(view.status), *_said(view))


def _title(shown: Status, now: datetime) -> Text:
    title = Text.assemble((shown.migration, "bold"), f"  {shown.state}  ")
    title.append(duration(((shown.finished_at or now) - shown.started_at).total_seconds()), style="dim")
    if shown.workers_alive:
        title.append(f"  {shown.workers_alive} workers", style="dim")
    return title


def _stages(stages: Sequence[StageStatus], now: datetime) -> Table:
    # Fixed, all but the last: a long reason to wait would else push the names out of sight.
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=1)
    grid.add_column(width=max(len(stage.name) for stage in stages))
    grid.add_column(width=8, justify="right")
    grid.add_column(ratio=1, style="dim", overflow="ellipsis", no_wrap=True)
    for stage in stages:
        mark, style = _MARKS[stage.state]
        grid.add_row(
            Text(mark, style=style),
            Text(stage.name, style=style),
            _took(stage, now),
            Text(stage.detail or ""),
        )
    return grid


def _took(stage: StageStatus, now: datetime) -> str:
    if stage.started_at is None:
        return ""
    return duration(((stage.finished_at or now) - stage.started_at).total_seconds())


def _tables(tables: Sequence[TableStatus]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(width=_BAR_WIDTH)
    for _ in range(3):
        grid.add_column(justify="right")
    for table in tables:
        bar = ProgressBar(total=1.0, completed=share(table), width=_BAR_WIDTH)
        grid.add_row(Text(table.name), bar, rows(table), rate(table), eta(table))
    return grid


def _warnings(shown: Status) -> Iterator[Text]:
    if shown.held is not None:
        yield Text(f"held: {shown.held}", style="bold yellow")
    if shown.quarantine:
        yield Text(f"{shown.quarantine:,} rows in quarantine", style="bold red")


def _said(view: View) -> Iterator[Text]:
    if view.application is not None:
        yield Text(view.application, style="magenta")
    for notice in view.notices[-_IN_SIGHT:]:
        yield Text(notice, style="dim", overflow="ellipsis", no_wrap=True)


def share(table: TableStatus) -> float:
    """How far a table is, 0 to 1: never past it, for the total is an estimate until the table is complete."""
    if table.state == "complete":
        return 1.0
    if not table.rows_total:
        return 0.0
    return min(1.0, table.rows_done / table.rows_total)


def rows(table: TableStatus) -> str:
    """Say how many rows of a table have their tenant."""
    if table.rows_total is None:
        return "waiting"
    if table.state == "complete":
        return f"{table.rows_done:,} rows" if table.rows_done else "nothing to fill"
    return f"{table.rows_done:,} of {max(table.rows_total, table.rows_done):,}"


def rate(table: TableStatus) -> str:
    """Say how many rows per second a table gets, or got until it was complete."""
    return f"{table.rows_per_second:,.0f} rows/s" if table.rows_done else ""


def eta(table: TableStatus) -> str:
    """Say when a table will be complete, where that can be told."""
    if table.state == "complete":
        return duration(table.seconds) if table.rows_done else ""
    return f"ETA {duration(table.eta_seconds)}" if table.eta_seconds is not None else ""


def duration(seconds: float) -> str:
    """Write seconds as people read them: 0.3 s, 12 s, 3:07, 1:02:03."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def changes(before: View | None, after: View) -> list[str]:
    """Say, one line each, what has begun or ended since what was shown before."""
    news = after.said - (before.said if before is not None else 0)
    lines = list(after.notices[-news:]) if news else []
    old, new = before.status if before is not None else None, after.status
    if new is None:
        return lines
    if old is None:
        return [*lines, _standing(new)]
    states = {stage.name: stage.state for stage in old.stages}
    for stage in new.stages:
        if stage.state != states[stage.name]:
            took = f" after {_took(stage, after.now)}" if stage.finished_at is not None else ""
            lines.append(f"{stage.name} {stage.state}{took}{_because(stage)}")
    tables = {table.name: table.state for table in old.tables}
    lines += [_progress(table) for table in new.tables if table.state == "complete" != tables.get(table.name)]
    if new.state != old.state:
        lines.append(f"{new.migration} {new.state}")
    return lines


def _standing(first: Status) -> str:
    stages = [f"{stage.name} {stage.state}" for stage in first.stages if stage.state != "open"]
    return f"{first.migration} {first.state}: {', '.join(stages) or 'no stage begun'}"


def progress(before: View | None, after: View) -> list[str]:
    """Say, one line each, what has gone on since what was shown before; it may change at every look."""
    old, new = before.status if before is not None else None, after.status
    if new is None:
        return []
    details = {stage.name: stage.detail for stage in old.stages} if old is not None else {}
    lines = [
        f"{stage.name} {stage.state}{_because(stage)}"
        for stage in new.stages
        if stage.state in {"running", "waiting"} and stage.detail != details.get(stage.name)
    ]
    done = {table.name: table.rows_done for table in old.tables} if old is not None else {}
    lines += [
        _progress(table)
        for table in new.tables
        if table.state == "running" and table.rows_done != done.get(table.name, 0)
    ]
    if new.held != (old.held if old is not None else None):
        lines.append(f"held: {new.held}" if new.held is not None else "no longer held")
    if new.quarantine != (old.quarantine if old is not None else 0):
        lines.append(f"{new.quarantine:,} rows in quarantine")
    return lines


def _because(stage: StageStatus) -> str:
    return f": {stage.detail}" if stage.detail else ""


def _progress(table: TableStatus) -> str:
    parts = [rows(table), f"{share(table):.0%}", rate(table), eta(table)]
    return f"{table.name}: " + ", ".join(part for part in parts if part)


def follow(look: Look, console: Console, wait: Wait) -> None:
    """Show what `look` sees until `wait(seconds)` says that it is over; what it sees then is shown last."""
    if console.is_terminal:
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


class Looker:
    """Reads the status on a connection of its own; without an answer it shows what it saw last."""

    def __init__(
        self,
        url: str,
        migration: str,
        *,
        notices: Notices | None = None,
        application: Callable[[], str | None] = _no_application,
    ) -> None:
        self.last: Status | None = None
        self._url = url
        self._migration = migration
        self._notices = notices or Notices()
        self._application = application
        self._connection: Connection | None = None

    def __call__(self) -> View:
        """Look once."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self._url, "status", statement_timeout_ms=2_000)
            self.last = status.read(self._connection, self._migration)
        except (NoMigrationError, UnreachableError, psycopg.Error):
            # Not begun, already forgotten, or the server is away: the conductor says so, the display goes on.
            pass
        notices, said = self._notices.so_far()
        return View(self.last, datetime.now(UTC), self._application(), notices, said)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()


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
