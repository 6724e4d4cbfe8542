"""The governor's part of a plan: a limit and a stop for each signal, and the pace."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from control.plan.values import (
    NO_LIMIT,
    DurationLimit,
    NumberLimit,
    Part,
    Size,
    SizeLimit,
    as_duration,
    as_size,
    seconds,
    size,
    to_three_digits,
)
from worker.governor.limits import Limit, SignalName

#: What a limit of rows per second may be at most.
MOST_ROWS = 1_000_000_000

#: How the limits of a signal are written, where they are not plain numbers.
_READ: dict[SignalName, Callable[[Any], float]] = {
    "lag": seconds,
    "lag_bytes": size,
    "slot_bytes": size,
    "archive_failing": seconds,
    "waited": seconds,
    "transaction": seconds,
    "snapshot": seconds,
    "wal_rate": size,
    "commit": seconds,
    "batch": seconds,
}

#: How the same are written; plain numbers as numbers.
_WRITTEN: dict[Callable[[Any], float], Callable[[float], str]] = {seconds: as_duration, size: as_size}


def written(signal: SignalName, value: float) -> str:
    """Write a signal's value as a plan writes its limit: `1.5s`, `64MB`, `0.7`."""
    return _WRITTEN.get(_READ.get(signal, float), to_three_digits)(value)


class Governor(Part):
    """At a `max` the pace is halved, at a `stop` no batch goes; `none` leaves a signal unjudged."""

    max_lag: DurationLimit = "1500ms"
    stop_lag: DurationLimit = "5s"
    max_lag_bytes: SizeLimit = "64MB"
    stop_lag_bytes: SizeLimit = "512MB"
    max_slot_bytes: SizeLimit = "4GB"
    stop_slot_bytes: SizeLimit = "16GB"
    max_archive_files: NumberLimit = 64
    stop_archive_files: NumberLimit = 256
    max_archive_failing: DurationLimit = "1m"
    stop_archive_failing: DurationLimit = "5m"
    max_waiting: NumberLimit = 2
    stop_waiting: NumberLimit = 10
    max_waited: DurationLimit = "200ms"
    stop_waited: DurationLimit = "1s"
    max_transaction: DurationLimit = "1h"
    stop_transaction: DurationLimit = "6h"
    max_snapshot: DurationLimit = "5m"
    stop_snapshot: DurationLimit = "1h"
    max_vacuums: NumberLimit = 2
    stop_vacuums: NumberLimit = 4
    max_dead: NumberLimit = 0.7
    stop_dead: NumberLimit = 0.9
    max_wal_rate: SizeLimit = "none"
    stop_wal_rate: SizeLimit = "none"
    max_connections: NumberLimit = 0.8
    stop_connections: NumberLimit = 0.95
    max_commit: DurationLimit = "5ms"
    stop_commit: DurationLimit = "500ms"
    max_query: NumberLimit = "none"
    stop_query: NumberLimit = "none"
    max_batch: DurationLimit = "300ms"
    stop_batch: DurationLimit = "none"
    query: str | None = None
    """SQL of one number, for the signal of that name."""
    unreadable: Literal["hold", "ignore"] = "ignore"
    """What becomes of a signal that has a limit and can't be read."""
    forget_standbys: tuple[str, ...] = ()
    """Standbys taken away for good, as `status` names them; any other that is gone is lag."""
    rows_per_second: Annotated[int, Field(gt=0, le=MOST_ROWS)] | None = None
    wal_per_second: Size | None = None

    def limits(self) -> dict[SignalName, Limit]:
        """The limits as workers take them, in base units, without signals that have none."""
        found = ((signal, self._limit(signal)) for signal in get_args(SignalName))
        return {signal: limit for signal, limit in found if limit is not None}

    def _limit(self, signal: SignalName) -> Limit | None:
        read = _READ.get(signal, float)
        most, stop = getattr(self, f"max_{signal}"), getattr(self, f"stop_{signal}")
        if most == stop == NO_LIMIT:
            return None
        return Limit(
            max=None if most == NO_LIMIT else read(most), stop=None if stop == NO_LIMIT else read(stop)
        )
