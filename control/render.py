"""What a migration looks like: drawn for a terminal, and told line by line elsewhere. All of it is pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from control.building import Building
from control.governed import GovernorStatus
from control.holds import Holds, SetAside, Waiting
from control.status import Notifications, StageStatus, Status, TableStatus
from control.tuning import told

#: How many of the last notices a live display keeps in sight.
_IN_SIGHT = 4
#: Seconds after which a failure that lasts is told where there is no terminal: a row that somebody has for a
#: moment is no news.
LASTS = 5.0

#: What leads out of a quarantine, and what lets a job go on that stopped itself.
WAY_OUT = "mend the cause, then `tenantry retry` and `tenantry run`"

#: What stands before a stage, by its state, and its style in a live display.
MARKS = {
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


def took(stage: StageStatus, now: datetime) -> str:
    """Say how long a stage took, or has taken so far."""
    if stage.started_at is None:
        return ""
    return duration(((stage.finished_at or now) - stage.started_at).total_seconds())


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


def tuned(shown: Status) -> str:
    """Say what is in force in place of the plan's own."""
    return "tuned: " + ", ".join(f"{key} {told(key, value)}" for key, value in shown.tuned.items())


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
        yield from (Text(line, style="bold red") for line in _stops(table))
    if shown.quarantine:
        told = f"{counted(shown.quarantine, 'row')} in quarantine; `tenantry quarantine` lists them"
        yield Text(told, style="bold red")
    if (undelivered := unheard(shown.notifications)) is not None:
        yield Text(undelivered, style="yellow")


def unheard(found: Notifications) -> str | None:
    """Say what the webhook has not got; None where nothing stands in the way of what is on its way."""
    lost = found.refused + found.given_up
    if found.error is None or not (found.due or lost):
        return None
    late = [f"{found.due} not sent yet"] if found.due else []
    never = [f"{lost} refused or given up"] if lost else []
    return f"notifications: {', '.join(late + never)} ({found.error}); `tenantry events` has them"


def held_back(shown: Status, reason: str) -> str:
    """Say why no batch goes; or, where others' do, at how many workers."""
    if 0 < shown.workers_holding < shown.workers_alive:
        return f"{shown.workers_holding} of {counted(shown.workers_alive, 'worker')} held: {reason}"
    return f"held: {reason}"


def _paced(shown: Status) -> Iterator[Text]:
    governor = shown.governor
    if governor is None or not any(table.state == "running" for table in shown.tables):
        return
    if shown.held is None:
        yield Text(pace(governor), style="yellow" if governor.slowed_by else "dim")
    if governor.unreadable:
        told = "; ".join(f"{signal.label} ({signal.unreadable})" for signal in governor.unreadable)
        yield Text(f"can't be read: {told}", style="dim yellow")


def pace(governor: GovernorStatus) -> str:
    """Say how fast batches go, what the governor does about it, and why."""
    return f"{speed(governor)}: {governor.reason}" if governor.reason else speed(governor)


def speed(governor: GovernorStatus) -> str:
    """Say how fast batches go, and what the governor does about it."""
    age = duration(governor.sample_age_seconds)
    return f"pace {governor.share:.0%} of full speed, {governor.zone.value}, sampled {age} ago"


def _stops(table: TableStatus) -> Iterator[str]:
    for part in table.parts or [table]:
        if part.state == "stopped":
            where = table.name if part is table else f"{table.name} ({part.name})"
            yield stop(where, part.reason)


def stop(where: str, reason: str | None) -> str:
    """Say why a job stopped itself, and the way out."""
    return f"{where} stopped itself: {reason}; {WAY_OUT}"


def waits(waiting: Waiting, now: datetime) -> list[str]:
    """Say which batches wait, why and until when; then, a line each, who blocks them."""
    verb = "waits" if waiting.batches == 1 else "wait"
    then = ""
    if waiting.next_try_at is not None:
        left = (waiting.next_try_at - now).total_seconds()
        then = f"; next try in {duration(left)}" if left > 0 else "; next try due"
    who = f"{waiting.where}: {counted(waiting.batches, 'batch', 'batches')} {verb}"
    how_long = duration((now - waiting.since).total_seconds())
    lines = [f"{who} for {how_long}: {_because_of(waiting)}{then}"]
    lines += [
        f"{'blocked' if blocking.certain else 'perhaps'} by {blocking.session}"
        for blocking in waiting.blocked_by
    ]
    if waiting.hidden is not None:
        lines.append(f"what other roles' sessions do is hidden from this one: {waiting.hidden}")
    return lines


def _because_of(failed: Waiting | SetAside) -> str:
    """The server's message with the code and its meaning; or what of the three is known."""
    message = failed.message if isinstance(failed, SetAside) else failed.error
    code = " ".join(part for part in (failed.sqlstate, failed.meaning) if part)
    return f"{message} [{code}]" if message and code else message or code


def held(holds: Holds, now: datetime) -> Iterator[str]:
    """Tell all that is held, and what to do next."""
    for row in holds.rows:
        key = ", ".join(f"{name}={value}" for name, value in row.key.items())
        yield f"{row.where} {key}: {_because_of(row)}, since {row.since:%Y-%m-%d %H:%M:%S}"
    if holds.more:
        yield f"and {holds.more:,} more"
    for waiting in holds.waiting:
        first, *more = waits(waiting, now)
        yield first
        yield from (f"  {line}" for line in more)
    yield from (stop(stopped.where, stopped.reason) for stopped in holds.stopped)
    yield _next(holds)


def _next(holds: Holds) -> str:
    if holds.rows or holds.stopped:
        return WAY_OUT[0].upper() + WAY_OUT[1:]
    if holds.waiting:
        return "They are tried again by themselves; `tenantry retry` lets them go at once"
    return "nothing is held"


def _said(view: View) -> Iterator[Text]:
    if view.application is not None:
        yield Text(view.application, style="magenta")
    for notice in view.notices[-_IN_SIGHT:]:
        yield Text(notice, style="dim", overflow="ellipsis", no_wrap=True)


def built(building: Building) -> str:
    """Say how far an index is, when it will be done, and whom its building waits for."""
    name = building.index or "an index"
    told = [f"{building.table}: {name} {building.share:.0%}, {building.phase}"]
    if building.total and building.waits_for is None:
        told.append(f"{min(building.done, building.total):,} of {building.total:,} {building.counts}")
    if building.eta_seconds is not None:
        told.append(f"ETA {duration(building.eta_seconds)}")
    if building.waits_for is not None:
        told.append(f"behind {building.waits_for}")
    return ", ".join(told)


def details(table: TableStatus) -> str:
    """Say how a table is paged, how big its batches are, and how many updates stayed in their page."""
    if table.paging is None or (table.state == "complete" and not table.rows_done):
        return ""
    told = [table.paging, f"{counted(table.batch_rows or 0, 'row')} a batch"]
    if table.heap_only_share is not None:
        told.append(f"{table.heap_only_share:.0%} of the updates heap-only")
    if table.parts:
        complete = sum(part.state == "complete" for part in table.parts)
        told.append(f"{complete} of {len(table.parts)} parts complete")
    return f"{table.name}: {', '.join(told)}"


def counted(number: int, one: str, several: str | None = None) -> str:
    """Write a number of things: 1 row, 1,234 rows."""
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


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
            in_all = f" after {took(stage, after.now)}" if stage.finished_at is not None else ""
            lines.append(f"{stage.name} {stage.state}{in_all}{_because(stage)}")
    tables = {table.name: table.state for table in old.tables}
    lines += [_progress(table) for table in new.tables if table.state == "complete" != tables.get(table.name)]
    lines += [
        line
        for table in new.tables
        if table.state == "stopped" != tables.get(table.name)
        for line in _stops(table)
    ]
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
    was_built = old.building if old is not None else ()
    lines += [built(one) for one in new.building if one not in was_built]
    if new.held != (old.held if old is not None else None):
        lines.append(held_back(new, new.held) if new.held is not None else "no longer held")
    slowed, was = _slowed_by(new), _slowed_by(old)
    if slowed != was and new.held is None:
        lines.append(pace(new.governor) if new.governor and slowed else f"no longer slowed: {was}")
    known = {(one.part, one.sqlstate) for one in _lasting(before)}
    for waiting in _lasting(after):
        if (waiting.part, waiting.sqlstate) not in known:
            first, *more = waits(waiting, after.now)
            lines += [first, *(f"  {line}" for line in more)]
    if new.quarantine != (old.quarantine if old is not None else 0):
        lines.append(f"{counted(new.quarantine, 'row')} in quarantine")
    return lines


def _slowed_by(shown: Status | None) -> str | None:
    return shown.governor.slowed_by if shown is not None and shown.governor is not None else None


def _lasting(view: View | None) -> list[Waiting]:
    """The failures that have lasted for a while."""
    if view is None or view.status is None:
        return []
    return [one for one in view.status.waiting if (view.now - one.since).total_seconds() >= LASTS]


def _because(stage: StageStatus) -> str:
    return f": {stage.detail}" if stage.detail else ""


def _progress(table: TableStatus) -> str:
    parts = [rows(table), f"{share(table):.0%}", rate(table), eta(table)]
    return f"{table.name}: " + ", ".join(part for part in parts if part)
