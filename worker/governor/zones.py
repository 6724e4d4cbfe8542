"""Judges a sample: how far each signal is towards its limit, and what that means for the pace."""

from dataclasses import dataclass
from enum import Enum

from worker.governor.signals import Sample
from worker.ledger import Limits

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
    """One signal against its limits."""

    signal: str
    value: float
    limit: float
    stop: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The zone, and the signal that put it there."""

    zone: Zone
    reason: str


def readings(sample: Sample, limits: Limits) -> list[Reading]:
    """The signals that can be read, each with its limits."""
    found = [
        Reading("sessions waiting behind ours", sample.waiting, limits.max_waiting, limits.stop_waiting),
        Reading("oldest snapshot in seconds", sample.snapshot, limits.max_snapshot, limits.stop_snapshot),
    ]
    if sample.lag_seconds is not None:
        found.append(Reading("replica lag in seconds", sample.lag_seconds, limits.max_lag, limits.stop_lag))
    if sample.lag_bytes is not None:
        found.append(
            Reading("replica lag in bytes", sample.lag_bytes, limits.max_lag_bytes, limits.stop_lag_bytes)
        )
    return found


def judge(found: list[Reading]) -> Verdict:
    """The worst signal decides."""
    for reading in found:
        if reading.value >= reading.stop:
            return Verdict(Zone.HOLD, f"{reading.signal}: {reading.value:.4g}, stop at {reading.stop:.4g}")
    worst = max(found, key=lambda reading: reading.value / reading.limit)
    used = worst.value / worst.limit
    reason = f"{worst.signal}: {worst.value:.4g} of {worst.limit:.4g}"
    if used >= HALVE_AT:
        return Verdict(Zone.HALVE, reason)
    if used >= SHED_AT:
        return Verdict(Zone.SHED, reason)
    return Verdict(Zone.GROW if used < GROW_BELOW else Zone.KEEP, reason)
