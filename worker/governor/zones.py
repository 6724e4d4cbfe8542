"""Judges a sample: how far each signal is towards its limit, and what that means for the pace.

A limit is judged by the smoothed value, so that a signal that swings around it does not make the pace swing;
a stop by the raw one, at once. Both are left later than they are entered.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from worker.governor.limits import LABELS, Limit, Sample, SignalName

#: The weight of a new value (lessons: GitLab's).
SMOOTHING = 0.4
#: A zone is left below so much of what it is entered at. Values that swing between nothing and twice a limit,
#: smoothed, swing between 0.75 and 1.25 of it.
EASE = 0.75
#: A stop is left below so much of it: a count of 10 below 9, one of 1 at none.
LEAVE_STOP = 0.9


class Zone(Enum):
    """What to do with the pace."""

    GROW = "grow"
    KEEP = "keep"
    SHED = "shed"
    HALVE = "halve"
    HOLD = "hold"

    @property
    def severity(self) -> int:
        """From 0, the more the worse."""
        return list(Zone).index(self)


#: Below 0.4 of every limit it speeds up, at 0.7 sheds, at 1.0 halves (lessons: spirit's zones).
_ENTERED_AT = {Zone.HALVE: 1.0, Zone.SHED: 0.7, Zone.KEEP: 0.4}


class Trend(BaseModel):
    """A signal so far: its smoothed value, and the zone that it is in."""

    model_config = ConfigDict(frozen=True)

    value: float
    zone: Zone


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal against its limit, what stands behind its value, and how it stood before."""

    signal: SignalName
    value: float
    limit: Limit
    detail: str = ""
    trend: Trend | None = None
    label: str = ""
    """What it is called where people read it; empty: what it is called on a server."""

    @property
    def smoothed(self) -> float:
        """What is judged against the limit."""
        return self.trend.value if self.trend is not None else self.value

    @property
    def used(self) -> float:
        """The share of its limit; 0 where only a stop is set."""
        if self.limit.max is None:
            return 0.0
        return self.smoothed / self.limit.max if self.limit.max > 0 else math.inf

    @property
    def zone(self) -> Zone:
        """The zone that it is in; asked again with this zone as the one before, it is the same."""
        before = self.trend.zone if self.trend is not None else Zone.GROW
        stop = self.limit.stop
        leave = LEAVE_STOP if before is Zone.HOLD else 1.0
        if stop is not None and self.value >= stop * leave:
            return Zone.HOLD
        for zone, at in _ENTERED_AT.items():
            ease = EASE if before.severity >= zone.severity else 1.0
            if self.used >= at * ease:
                return zone
        return Zone.GROW

    def __str__(self) -> str:
        named = f" ({self.detail})" if self.detail else ""
        label = self.label or LABELS[self.signal]
        if self.zone is Zone.HOLD:
            return f"{label}: {self.value:.4g}{named}, stop at {self.limit.stop:.4g}"
        differs = not math.isclose(self.smoothed, self.value, rel_tol=0.01, abs_tol=1e-9)
        smoothed = f", {self.smoothed:.4g} smoothed" if differs else ""
        return f"{label}: {self.value:.4g}{named}{smoothed}, limit {self.limit.max:.4g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The zone, and the signal that put it there: none while nothing limits the pace."""

    zone: Zone
    signal: SignalName | None
    reason: str


def readings(
    sample: Sample, limits: Mapping[SignalName, Limit], trends: Mapping[SignalName, Trend] | None = None
) -> list[Reading]:
    """The signals that have a limit and could be read."""
    return [
        Reading(
            signal,
            sample.values[signal],
            limit,
            sample.details.get(signal, ""),
            (trends or {}).get(signal),
            sample.label(signal),
        )
        for signal, limit in limits.items()
        if signal in sample.values
    ]


def trends(
    before: Mapping[SignalName, Trend], sample: Sample, limits: Mapping[SignalName, Limit]
) -> dict[SignalName, Trend]:
    """Every signal of a sample with what came before; one that is not in it begins anew when it is back."""
    found: dict[SignalName, Trend] = {}
    for signal, value in sample.values.items():
        known = before.get(signal, Trend(value=value, zone=Zone.GROW))
        smoothed = known.value + SMOOTHING * (value - known.value)
        now = Trend(value=smoothed, zone=known.zone)
        limit = limits.get(signal, Limit(max=None, stop=None))
        found[signal] = Trend(value=smoothed, zone=Reading(signal, value, limit, trend=now).zone)
    return found


def judge(found: list[Reading]) -> Verdict:
    """The worst signal decides."""
    worst = max(found, key=lambda reading: (reading.zone.severity, reading.used), default=None)
    if worst is None or worst.zone is Zone.GROW:
        return Verdict(Zone.GROW, None, "")
    return Verdict(worst.zone, worst.signal, str(worst))


def judge_sample(
    sample: Sample,
    limits: Mapping[SignalName, Limit],
    trends: Mapping[SignalName, Trend],
    unreadable: Literal["hold", "ignore"],
) -> Verdict:
    """Judge a sample, and what of it that has a limit can't be read as `unreadable` says."""
    if unreadable == "hold":
        for signal in limits:
            if signal in sample.unreadable:
                why = sample.unreadable[signal]
                return Verdict(Zone.HOLD, signal, f"{sample.label(signal)}: can't be read, {why}")
    return judge(readings(sample, limits, trends))
