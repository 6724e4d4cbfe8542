"""The parts of the full screen below its stages, each of which can be told in fewer lines than it wants."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from control.governed import GovernorStatus, SignalStatus
from control.plan.governor import written
from control.plan.values import as_size
from control.status import Status, TableStatus
from control.watch.printable import printable
from control.watch.render import warnings
from control.watch.sight import Sight, WorkerStatus
from control.watch.words import (
    built,
    details,
    duration,
    eta,
    figures,
    held_back,
    rate,
    rows,
    share,
    speed,
    tuned,
)
from worker.audit import Event
from worker.governor.limits import Limit
from worker.governor.zones import Reading, Zone
from worker.ledger import Settings

#: The only colours, for they can be read on black and on white; whatever they say a mark or a word says too.
GRAVE, WARN, BUSY = "bold red", "bold magenta", "bold bright_blue"

#: What stands before a signal that is near its limit, past it, or past its stop.
_ZONES = {Zone.SHED: ("△", WARN), Zone.HALVE: ("▲", WARN), Zone.HOLD: ("■", GRAVE)}
_LONGEST_BAR, _SHORTEST_BAR = 40, 6
#: Cells of one signal: mark, name, value, limit and stop. Two stand side by side in 80.
_SIGNAL = 39
#: Tables that are at work are shown before others where not all can be.
_FIRST = ("stopped", "running", "waiting", "complete")

Lines = tuple[list[Text], int]


@dataclass(frozen=True, slots=True)
class Panel:
    """A heading and what stands below it.

    `lines` gives so many lines of it, and how many things it then leaves out; `most` shows all of them, and
    with fewer than `least` there is no sense in it. The lower its `rank`, the later it gives way. One that
    is `lasting` says something by its heading alone.
    """

    name: str
    heading: str
    rank: int
    most: int
    least: int
    lines: Callable[[int], Lines]
    things: tuple[str, str] = ("line", "lines")
    lasting: bool = False


def of(sight: Sight, now: datetime, width: int) -> list[Panel]:
    """All panels in the order in which they are shown."""
    return [
        _list("what needs a look", 0, 1, _warned(sight.status, now)),
        _tables(sight.status.tables, width),
        _list("indexes", 3, 1, [Text(built(one)) for one in sight.status.building]),
        _list("pace", 2, 2, list(_pace(sight))),
        _signals(sight.status.governor, width),
        _workers(sight.workers),
        _events(sight.events, now),
    ]


def across(left: Text, right: Text, width: int) -> Text:
    """Put a text at each end of a line; where there is no room, only the left one."""
    room = width - left.cell_len - right.cell_len
    return Text.assemble(left, " " * room, right) if room >= 2 else left


def columns(cells: Sequence[Text], width: int, cell: int) -> list[Text]:
    """Set texts of `cell` cells at most side by side, two blanks between, line by line."""
    beside = max(1, (width + 2) // (cell + 2))
    padded = [Text.assemble(each, " " * (cell - each.cell_len)) for each in cells]
    return [Text("  ").join(padded[at : at + beside]) for at in range(0, len(padded), beside)]


def _list(name: str, rank: int, least: int, lines: Sequence[Text]) -> Panel:
    return Panel(name, name, rank, len(lines), least, lambda n: (list(lines[:n]), len(lines) - n))


def _warned(status: Status, now: datetime) -> list[Text]:
    # A live display beside a run has them in colours of its own, some of which can't be read on white.
    return [Text(line.plain, GRAVE if "red" in str(line.style) else WARN) for line in warnings(status, now)]


def _tables(tables: Sequence[TableStatus], width: int) -> Panel:
    lines = list(_bars(tables, width))
    order = sorted(range(len(tables)), key=lambda at: _FIRST.index(tables[at].state))

    def some(n: int) -> Lines:
        return [lines[at] for at in sorted(order[:n])], len(lines) - n

    return Panel("tables", "tables", 1, len(lines), 2, some, ("table", "tables"))


def _bars(tables: Sequence[TableStatus], width: int) -> Iterator[Text]:
    """A line for each: name, bar, share, rows, rate, end, and where there is room how it is filled."""
    told = [(f"{share(each):.0%}", rows(each), rate(each), eta(each)) for each in tables]
    names = [printable(" ".join(each.name.split())) for each in tables]
    wide = [max(len(texts[at]) for texts in told) for at in range(4)] if told else []
    name = min(max(map(cell_len, names), default=0), max(16, width // 4))
    bar = min(_LONGEST_BAR, width - name - sum(wide) - 5)
    for each, shown, texts in zip(tables, names, told, strict=True):
        drawn = f" {_bar(share(each), bar)}" if bar >= _SHORTEST_BAR else ""
        columned = " ".join(f"{text:>{size}}" for text, size in zip(texts, wide, strict=True))
        style = {"stopped": GRAVE, "running": BUSY}.get(each.state, "")
        line = Text.assemble(_sized(shown, name), (drawn, style), f" {columned}")
        how = f"  {details(each).removeprefix(f'{each.name}: ')}"
        yield line.append(how if line.cell_len + len(how) <= width else "")


def _bar(part: float, cells: int) -> str:
    full = int(part * cells)
    return "█" * full + "░" * (cells - full)


def _pace(sight: Sight) -> Iterator[Text]:
    status, settings = sight.status, sight.settings
    if status.held is not None:
        yield Text(f"■ {held_back(status, status.held)}", WARN)
    yield Text(", ".join(_rates(status, settings)))
    governor = status.governor
    if governor is None:
        yield Text("no sample of the governor's yet" if settings.sampled else "no governor: --no-throttle")
    else:
        yield Text(speed(governor), WARN if governor.slowed_by else "")
        if governor.reason and status.held is None:
            yield Text(f"because of {governor.reason}")
    if status.tuned:
        yield Text(tuned(status))


def _rates(status: Status, settings: Settings) -> Iterator[str]:
    now = sum(table.rows_per_second for table in status.tables if table.state == "running")
    yield f"{now:,.0f} rows/s in the last 10 s"
    if settings.rows_per_second is None:
        yield "no limit of rows per second"
    else:
        yield f"at most {settings.rows_per_second:,} rows/s"
    if settings.wal_per_second is not None:
        yield f"at most {as_size(settings.wal_per_second)}/s of WAL"
    if settings.active:
        yield f"only {', '.join(settings.active)}"


def _signals(governor: GovernorStatus | None, width: int) -> Panel:
    judged = [
        (signal, _used(signal))
        for signal in (governor.signals if governor is not None else ())
        if (signal.limit is not None or signal.stop is not None)
        # Neither: there is no such thing here, as no lag without a standby.
        and (signal.value is not None or signal.unreadable is not None)
    ]
    beside = max(1, (width + 2) // (_SIGNAL + 2))
    order = sorted(range(len(judged)), key=lambda at: -judged[at][1])

    def some(n: int) -> Lines:
        kept = sorted(order[: n * beside])
        cells = [_signal(judged[at][0]) for at in kept]
        return columns(cells, width, _SIGNAL), len(judged) - len(kept)

    most = -(-len(judged) // beside)
    return Panel("signals", "signals: now, limit, stop", 4, most, 2, some, ("signal", "signals"))


def _used(signal: SignalStatus) -> float:
    """How near a signal is to its limit or stop: 1 is at it. Before all others what can't be read."""
    if signal.value is None:
        return float("inf")
    return max(signal.value / bound for bound in (signal.limit, signal.stop) if bound)


def _signal(signal: SignalStatus) -> Text:
    if signal.value is None:
        value, mark, style = "unread", "?", WARN
    else:
        value, limit = written(signal.signal, signal.value), Limit(max=signal.limit, stop=signal.stop)
        mark, style = _ZONES.get(Reading(signal.signal, signal.value, limit).zone, ("·", ""))
    bounds = "".join(
        f" {written(signal.signal, bound) if bound is not None else '-':>6}"
        for bound in (signal.limit, signal.stop)
    )
    room = _SIGNAL - 2 - len(signal.signal) - len(bounds)
    return Text(_sized(f"{mark} {signal.signal}{value:>{room}}{bounds}", _SIGNAL), style)


def _workers(workers: Sequence[WorkerStatus]) -> Panel:
    held = sum(worker.holding is not None for worker in workers)
    heading = f"workers: {len(workers) or 'none'}{f', {held} of them held' if held else ''}"
    lines = [Text(_worker(worker), WARN if worker.holding is not None else "") for worker in workers]
    return Panel(
        *("workers", heading, 6, len(lines), 0),
        lambda n: (lines[:n], len(lines) - n if n else 0),
        ("worker", "workers"),
        lasting=True,
    )


def _worker(worker: WorkerStatus) -> str:
    if worker.holding is not None:
        return f"{worker.name}  held since {_clock(worker.holding.since)}: {worker.holding.reason}"
    if worker.idle is None:
        return worker.name
    return f"{worker.name}  {'at work' if worker.idle < 1 else f'idle for {duration(worker.idle)}'}"


def _events(events: Sequence[Event], now: datetime) -> Panel:
    def some(n: int) -> Lines:
        return [Text(_event(event, now)) for event in events[len(events) - n :]], 0

    return Panel("last events", "last events", 5, len(events), 3, some)


def _event(event: Event, now: datetime) -> str:
    at = event.at.astimezone(UTC)
    day = "" if at.date() == now.astimezone(UTC).date() else f"{at:%m-%d} "
    what = event.stage or event.kind  # of a statement the stage that it belongs to
    return f"{day}{_clock(at)}  {event.actor}  {what}  {event.message}{figures(event)}"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}"


def _sized(text: str, cells: int) -> str:
    fitted = Text(text)
    fitted.truncate(cells, overflow="ellipsis")
    return set_cell_size(fitted.plain, cells)
