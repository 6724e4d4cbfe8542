"""Judges a sample: how far each signal is towards its limit, and what that means for the pace."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from worker.governor.limits import LABELS, Limit, Sample, SignalName

#: Below 0.4 of every limit it speeds up, at 0.7 sheds, at 1.0 halves (lessons: spirit's zones).
GROW_BELOW = 0.4
SHED_AT = 0.7
HALVE_AT = 1.0


class Zone(Enum):
    """What to do with the pace."""

    GROW = "grow"
    KEEP = "keep"
    SHED = "shed"
    HALVE = "halve"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal against its limit, and what stands behind its value."""

    signal: SignalName
    value: float
    limit: Limit
    detail: str = ""

    @property
    def used(self) -> float:
        """The share of its limit; 0 where only a stop is set."""
        return self.value / self.limit.max if self.limit.max is not None else 0.0

    @property
    def stopped(self) -> bool:
        """Whether no batch may go."""
        return self.limit.stop is not None and self.value >= self.limit.stop

    def __str__(self) -> str:
        named = f" ({self.detail})" if self.detail else ""
        at = f"stop at {self.limit.stop:.4g}" if self.stopped else f"limit {self.limit.max:.4g}"
        return f"{LABELS[self.signal]}: {self.value:.4g}{named}, {at}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The zone, and the signal that put it there: none while nothing limits the pace."""

    zone: Zone
    signal: SignalName | None
    reason: str


def readings(sample: Sample, limits: Mapping[SignalName, Limit]) -> list[Reading]:
    """The signals that have a limit and could be read."""
    return [
        Reading(signal, sample.values[signal], limit, sample.details.get(signal, ""))
        for signal, limit in limits.items()
        if signal in sample.values
    ]


def judge(found: list[Reading]) -> Verdict:
    """The worst signal decides."""
    for reading in found:
        if reading.stopped:
            return Verdict(Zone.HOLD, reading.signal, str(reading))
    limited = [reading for reading in found if reading.limit.max is not None]
    if not limited:
        return Verdict(Zone.GROW, None, "")
    worst = max(limited, key=lambda reading: reading.used)
    if worst.used >= HALVE_AT:
        zone = Zone.HALVE
    elif worst.used >= SHED_AT:
        zone = Zone.SHED
    elif worst.used >= GROW_BELOW:
        zone = Zone.KEEP
    else:
        return Verdict(Zone.GROW, None, "")
    return Verdict(zone, worst.signal, str(worst))
