"""Reads the signals of the database's health for real."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.rows import dict_row
from pydantic import BaseModel, ConfigDict

import sql.postgres
from sql.named import load
from sql.postgres.connection import Connection

SIGNALS = load(Path(sql.postgres.__file__).parent, "signals")


class Sample(BaseModel):
    """One look at the database; lag is None where there is no standby, `snapshot` is an age in seconds."""

    model_config = ConfigDict(frozen=True)

    lag_bytes: float | None
    lag_seconds: float | None
    waiting: int
    snapshot: float


@dataclass(slots=True)
class Sampler:
    """Takes samples, and remembers what was written when, to tell replica lag as time.

    `clock` gives seconds; a standby that has replayed up to what was written 3 s ago is 3 s behind,
    which `pg_stat_replication.replay_lag` does not say when the server is idle.
    """

    clock: Callable[[], float]
    _written: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=600))

    def take(self, connection: Connection) -> Sample:
        """Read all signals in one statement."""
        with connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(SIGNALS.sample.compose(), {}).fetchone()
        if row is None:
            raise RuntimeError("a SELECT without FROM gives one row")
        now = self.clock()
        self._written.append((row["written"], now))
        replayed: float | None = row["replayed"] if row["standbys"] else None
        return Sample(
            lag_bytes=None if replayed is None else max(0.0, row["written"] - replayed),
            lag_seconds=None if replayed is None else self.behind(replayed, now),
            waiting=row["waiting"],
            snapshot=row["snapshot"],
        )

    def behind(self, replayed: float, now: float) -> float:
        """Seconds since the position next above `replayed` was written; 0 where nothing is above it."""
        above = bisect_left(self._written, (replayed, float("inf")))
        if above == len(self._written):
            return 0.0
        return now - self._written[above][1]
