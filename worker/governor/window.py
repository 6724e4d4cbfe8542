"""Hours in which batches may go, as `[backfill] active` says them.

A window is judged by what the clock on the wall in its time zone reads: on the night on which clocks are put
forward `22:00-06:00` is seven hours long, on the one on which they are put back nine, and `02:00-02:30` may
not come at all, or twice. A window over midnight belongs to the weekday that it begins on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TEXT = re.compile(r"(?:(?P<days>\S+) +)?(?P<opens>\d\d:\d\d)-(?P<closes>\d\d:\d\d) +(?P<zone>\S+)")
_EXAMPLE = "write '22:00-06:00 Europe/Berlin' or 'Mon-Fri 20:00-06:00 UTC'"
_DAY = 24 * 60
#: So far is looked ahead for an opening, in days: one a week, and one of those lost to the clocks.
_AHEAD = 15


@dataclass(frozen=True, slots=True)
class Window:
    """Weekdays (0 is Monday) on which it begins, the minutes of the day between which it is open, and where.

    With `closes` at or below `opens` it goes over midnight.
    """

    days: frozenset[int]
    opens: int
    closes: int
    zone: ZoneInfo

    def is_open(self, at: datetime) -> bool:
        """Whether a batch may go at this time, which knows its zone."""
        local = at.astimezone(self.zone)
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.opens < self.closes:
            return day in self.days and self.opens <= minute < self.closes
        begun_today = day in self.days and minute >= self.opens
        return begun_today or ((day - 1) % 7 in self.days and minute < self.closes)

    def opens_after(self, at: datetime) -> datetime | None:
        """When it opens next; None where it does not within two weeks."""
        turns = (turn for turn in sorted(self._turns(at)) if turn > at and self.is_open(turn))
        return next(turns, None)

    def _turns(self, at: datetime) -> Iterator[datetime]:
        """The times at which it may open: when the clock reads so, and when the clock is changed."""
        today = at.astimezone(self.zone).date()
        opens = time(self.opens // 60, self.opens % 60)
        for days in range(-1, _AHEAD):
            begins = datetime.combine(today + timedelta(days), opens, self.zone)
            # Read twice where the clock is put back.
            yield from (begins.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        begun = datetime.combine(today - timedelta(1), time(), UTC)
        for hours in range(24 * (_AHEAD + 2)):
            yield from self._change(begun + timedelta(hours=hours), begun + timedelta(hours=hours + 1))

    def _change(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The second in which the clock is changed, if it is within these two times."""
        before = after.astimezone(self.zone).utcoffset()
        if until.astimezone(self.zone).utcoffset() == before:
            return
        while until - after > timedelta(seconds=1):
            middle = after + timedelta(seconds=(until - after) // timedelta(seconds=2))
            if middle.astimezone(self.zone).utcoffset() == before:
                after = middle
            else:
                until = middle
        yield until


@lru_cache
def parse(text: str) -> Window:
    """Read a window: weekdays (all, if none is named), hours, and a time zone by its name.

    Raises:
        ValueError: not a window; says what is wrong with it.
    """
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a window of hours; {_EXAMPLE}")
    opens, closes = _minute(match["opens"]), _minute(match["closes"])
    if opens == _DAY:
        raise ValueError(f"{text!r} opens at the end of a day; a day begins at 00:00")
    if opens == closes:
        raise ValueError(f"{text!r} ends as it begins; write 00:00-24:00 for a whole day")
    try:
        zone = ZoneInfo(match["zone"])
    # A name with dots is a ValueError, one of a folder of names, such as Europe, an OSError.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{match['zone']!r} is no time zone that this host knows; {_EXAMPLE}") from None
    return Window(_weekdays(match["days"]), opens, closes, zone)


def _minute(text: str) -> int:
    hour, minute = int(text[:2]), int(text[3:])
    if minute >= 60 or hour * 60 + minute > _DAY:
        raise ValueError(f"{text} is no time of the day")
    return hour * 60 + minute


def _weekdays(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, to, last = part.partition("-")
        begin, end = _weekday(first), _weekday(last if to else first)
        found.update((begin + day) % 7 for day in range((end - begin) % 7 + 1))
    return frozenset(found)


def _weekday(text: str) -> int:
    if text not in _DAYS:
        raise ValueError(f"{text!r} is no weekday; they are {', '.join(_DAYS)}")
    return _DAYS.index(text)


def closed(windows: Sequence[str], now: float) -> str | None:
    """Say that no window is open and when one opens; None while one is, or where none is set.

    `now` is a Unix time.

    Raises:
        ValueError: not a window.
    """
    at = datetime.fromtimestamp(now, UTC)
    read = [parse(text) for text in windows]
    if not read or any(window.is_open(at) for window in read):
        return None
    openings = [(opens, window.zone) for window in read if (opens := window.opens_after(at)) is not None]
    if not openings:
        return "outside the hours of the plan: none of them comes within two weeks"
    opens, zone = min(openings, key=lambda opening: opening[0])
    return f"outside the hours of the plan: they open {opens.astimezone(zone):%a %d %b, %H:%M} {zone.key}"
