"""A migration drawn for a terminal, live beside a run or once. All of it is pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from control.status import StageStatus, Status, TableStatus
from control.watch.view import View
from control.watch.words import (
    built,
    counted,
    details,
    duration,
    eta,
    held_back,
    pace,
    rate,
    rows,
    share,
    stops,
    took,
    tuned,
    unheard,
    waits,
)

#: How many of the last notices a live display keeps in sight.
_IN_SIGHT = 4
#: What stands before a stage, by its state, and its style.
MARKS = {
    "open": ("·", "dim"),
    "running": ("▶", "bold cyan"),
    "waiting": ("‖", "bold yellow"),
    "done": ("✓", "green"),
    "failed": ("✗", "bold red"),
}
_BAR_WIDTH = 28


def render(view: View) -> RenderableType:
    """Draw every stage with its state and time, a bar per table, and why nothing may go now."""
    if view.status is None:
        return Group(Text("starting …", style="dim"), *_said(view))
    parts: list[RenderableType] = [_title(view.status, view.now), _stages(view.status.stages, view.now)]
    if any(table.rows_total is not None for table in view.status.tables):
        parts.append(Padding(_tables(view.status.tables), (1, 0, 0, 0)))
    parts += [Text(line, style="dim") for table in view.status.tables if (line := details(table))]
    parts += [Text(built(one), style="yellow" if one.waits_for else "cyan") for one in view.status.building]
    told = [*_tuned(view.status), *_held(view.status), *_paced(view.status)]
    return Group(*parts, *told, *warnings(view.status, view.now), *_said(view))


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
        mark, style = MARKS[stage.state]
        grid.add_row(
            Text(mark, style=style),
            Text(stage.name, style=style),
            took(stage, now),
            Text(stage.detail or ""),
        )
    return grid


def _tables(tables: Sequence[TableStatus]) -> Table:
    # The bar gives way where the terminal is narrow: figures that wrap can't be read.
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(max_width=_BAR_WIDTH)
    for _ in range(3):
        grid.add_column(justify="right", no_wrap=True)
    for table in tables:
        bar = ProgressBar(total=1.0, completed=share(table))
        grid.add_row(Text(table.name), bar, rows(table), rate(table), eta(table))
    return grid


def _tuned(shown: Status) -> Iterator[Text]:
    if shown.tuned:
        yield Text(tuned(shown), "cyan")


def _held(shown: Status) -> Iterator[Text]:
    if shown.held is not None:
        yield Text(held_back(shown, shown.held), style="bold yellow")


def warnings(shown: Status, now: datetime) -> Iterator[Text]:
    """Say what an operator should look into: who blocks batches, jobs that stopped, rows set aside."""
    for waiting in shown.waiting:
        first, *more = waits(waiting, now)
        yield Text(first, style="yellow")
        yield from (Text(f"  {line}", style="dim yellow") for line in more)
    yield from (Text(str(one), style="yellow") for one in shown.unscoped)
    for table in shown.tables:
        yield from (Text(line, style="bold red") for line in stops(table))
    if shown.quarantine:
        told = f"{counted(shown.quarantine, 'row')} in quarantine; `tenantry quarantine` lists them"
        yield Text(told, style="bold red")
    if (undelivered := unheard(shown.notifications)) is not None:
        yield Text(undelivered, style="yellow")


def _paced(shown: Status) -> Iterator[Text]:
    governor = shown.governor
    if governor is None or not any(table.state == "running" for table in shown.tables):
        return
    if shown.held is None:
        yield Text(pace(governor), style="yellow" if governor.slowed_by else "dim")
    if governor.unreadable:
        told = "; ".join(f"{signal.label} ({signal.unreadable})" for signal in governor.unreadable)
        yield Text(f"can't be read: {told}", style="dim yellow")


def _said(view: View) -> Iterator[Text]:
    if view.application is not None:
        yield Text(view.application, style="magenta")
    for notice in view.notices[-_IN_SIGHT:]:
        yield Text(notice, style="dim", overflow="ellipsis", no_wrap=True)
