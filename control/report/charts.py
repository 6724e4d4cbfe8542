"""What is drawn over time: shapes in a square of 1000 by 1000, and the words beside it. All of it is pure.

The words are no part of the shapes: a drawing that is squeezed to a phone's width would squeeze them too.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from worker.chronicle import Filled, Held, Pace

#: The side of the square.
SIDE = 1000
#: Tables with a colour of their own; the rest share the last.
_COLOURS = 6
#: Seconds that a sample of the pace stands for at least.
_SLOT = 10.0


@dataclass(frozen=True, slots=True)
class Span:
    """The time that all drawings of a report share."""

    began: datetime
    ended: datetime

    @property
    def seconds(self) -> float:
        """Never zero."""
        return max((self.ended - self.began).total_seconds(), 0.001)

    def at(self, moment: datetime) -> float:
        """How far to the right a moment is; never outside."""
        share = (moment - self.began).total_seconds() / self.seconds
        return round(min(1.0, max(0.0, share)) * SIDE, 1)

    @property
    def ticks(self) -> tuple[str, str, str]:
        """The beginning, the middle and the end, as people read them, in UTC."""
        moments = (self.began, self.began + (self.ended - self.began) / 2, self.ended)
        days = self.seconds > 86_400
        return tuple(f"{moment:%d %b %H:%M}" if days else f"{moment:%H:%M:%S}" for moment in moments)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One line or area: its name, its colour's number, and the path of its shape."""

    label: str
    colour: int
    path: str


@dataclass(frozen=True, slots=True)
class Band:
    """A time in which nobody let a batch go: from the left, and how wide."""

    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing: `top` is the value at its upper edge, as text; `told` says in words what is to be seen."""

    name: str
    title: str
    told: str
    top: str
    ticks: tuple[str, str, str]
    shapes: tuple[Drawn, ...]
    bands: tuple[Band, ...]
    filled: bool


def bands(holds: Iterable[Held], span: Span) -> tuple[Band, ...]:
    """The holds, those that overlap as one."""
    found: list[tuple[datetime, datetime]] = []
    for held in sorted(holds, key=lambda one: one.since):
        until = held.until or span.ended
        if found and held.since <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], until))
        else:
            found.append((held.since, until))
    return tuple(
        Band(span.at(since), max(round(span.at(until) - span.at(since), 1), 0.5)) for since, until in found
    )


def rows(rates: Sequence[Filled], span: Span, held: tuple[Band, ...]) -> Chart | None:
    """Rows per second over time, each table's on top of the others'; None where no batch wrote any."""
    if not rates:
        return None
    in_all: Counter[str] = Counter()
    for one in rates:
        in_all[one.table] += one.filled
    # The biggest have a colour of their own.
    names = [name for name, _ in in_all.most_common()]
    most = max(sum(each) for each in _by_time(rates).values())
    top = nice(most)
    below: defaultdict[datetime, float] = defaultdict(float)
    paths: dict[str, str] = dict.fromkeys(names, "")
    for one in sorted(rates, key=lambda rate: names.index(rate.table)):
        left, right = span.at(one.at), span.at(one.at + timedelta(seconds=one.seconds))
        base, height = below[one.at], one.per_second / top * SIDE
        paths[one.table] += f"M{left} {_y(base)}V{_y(base + height)}H{max(right, left + 0.5)}V{_y(base)}Z"
        below[one.at] += height
    total = sum(one.filled for one in rates)
    width = rates[0].seconds
    return Chart(
        name="rows",
        title="Rows per second",
        told=f"{total:,} rows in all; at most {most:,.0f} rows/s over {width:,.0f} s",
        top=f"{top:,.0f} rows/s",
        ticks=span.ticks,
        shapes=tuple(
            Drawn(name, min(number, _COLOURS - 1), paths[name]) for number, name in enumerate(names)
        ),
        bands=held,
        filled=True,
    )


def _by_time(rates: Iterable[Filled]) -> dict[datetime, list[float]]:
    found: defaultdict[datetime, list[float]] = defaultdict(list)
    for one in rates:
        found[one.at].append(one.per_second)
    return found


def signal(name: str, title: str, paces: Sequence[Pace], span: Span, held: tuple[Band, ...]) -> Chart | None:
    """A signal in seconds over time, the worst of each ten; None where it never was anything."""
    return _line(name, title, [(one.at, getattr(one, name)) for one in paces], span, held, unit="s")


def query(paces: Sequence[Pace], span: Span, held: tuple[Band, ...]) -> Chart | None:
    """The plan's own query over time, in its own unit; None where the plan has none."""
    return _line("query", "The plan's own query", [(one.at, one.query) for one in paces], span, held, unit="")


def share(paces: Sequence[Pace], span: Span, held: tuple[Band, ...]) -> Chart | None:
    """The share of full speed at which batches went; None where nothing was sampled."""
    points = [(one.at, one.share * 100) for one in paces]
    return _line("share", "Pace, in % of full speed", points, span, held, unit="%", least=100.0)


def _line(
    name: str,
    title: str,
    points: Sequence[tuple[datetime, float | None]],
    span: Span,
    held: tuple[Band, ...],
    *,
    unit: str,
    least: float = 0.0,
) -> Chart | None:
    known = [(at, value) for at, value in points if value is not None]
    if not known or not any(value for _, value in known):
        return None
    worst_at, worst = max(known, key=lambda point: point[1])
    top = least if worst <= least else nice(worst)
    low = min(value for _, value in known)
    told = f"between {amount(low, unit)} and {amount(worst, unit)}" if low < worst else amount(low, unit)
    if not least:
        told = f"at most {amount(worst, unit)}, at {worst_at:%Y-%m-%d %H:%M:%S} UTC"
    path = "".join(_steps(known, span, top))
    return Chart(
        name, title, told, amount(top, unit), span.ticks, (Drawn(title, 0, path),), held, filled=False
    )


def _steps(points: Sequence[tuple[datetime, float]], span: Span, top: float) -> Iterator[str]:
    """A step for each point, and a gap where there was no sample for long."""
    widths = [(after[0] - at[0]).total_seconds() for at, after in pairwise(points)]
    usual = max(_SLOT, min(widths, default=_SLOT))
    gap = 3 * max(usual, span.seconds / SIDE)
    for at, (moment, value) in enumerate(points):
        y = _y(max(0.0, value) / top * SIDE)
        begins = at == 0 or widths[at - 1] > gap
        width = widths[at] if at < len(widths) and widths[at] <= gap else usual
        end = span.at(moment + timedelta(seconds=width))
        yield f"M{span.at(moment)} {y}H{end}" if begins else f"V{y}H{end}"


def _y(height: float) -> float:
    """From the bottom to a place from the top."""
    return round(SIDE - min(height, SIDE), 1)


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 and 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** (len(f"{int(value)}") - 1) if value >= 1 else 1.0
    while power > value:
        power /= 10
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power * (1 + 1e-9))


def amount(value: float, unit: str) -> str:
    """A value with its unit; less than a second in milliseconds."""
    if unit == "s" and value < 1:
        return f"{value * 1000:,.0f} ms" if value >= 0.01 or not value else f"{value * 1000:.1f} ms"
    text = f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text}{'' if unit == '%' else ' '}{unit}".strip()
