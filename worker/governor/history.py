"""What was seen before, and what a new look means by it: replica lag as time, WAL as a rate.

It travels with the posted sample, so that it does not matter who takes the next one.
"""

from bisect import bisect_left

from pydantic import BaseModel, ConfigDict

from worker.governor.limits import Sample
from worker.governor.signals import Look

#: So many positions are kept: ten minutes of them at one a second.
_KEPT = 600


class History(BaseModel):
    """When which position in the WAL was written: bytes, and the Redis server's seconds; oldest first."""

    model_config = ConfigDict(frozen=True)

    written: tuple[tuple[float, float], ...] = ()

    def and_now(self, look: Look, now: float) -> "History":
        """The history with this look in it."""
        return History(written=(*self.written, (look.written, now))[-_KEPT:])

    def sample(self, look: Look, now: float) -> Sample:
        """The look's sample, with lag: of the standby that is furthest behind."""
        if not look.replayed:
            return look.sample
        name, replayed = min(look.replayed.items(), key=lambda standby: standby[1])
        lag = {"lag": self.behind(replayed, now), "lag_bytes": max(0.0, look.written - replayed)}
        return look.sample.model_copy(
            update={
                "values": look.sample.values | lag,
                "details": look.sample.details | dict.fromkeys(lag, name),
            }
        )

    def behind(self, replayed: float, now: float) -> float:
        """Seconds since the position next above `replayed` was written; 0 where nothing is above it.

        `pg_stat_replication.replay_lag` does not say that when the server is idle.
        """
        above = bisect_left(self.written, (replayed, float("inf")))
        return now - self.written[above][1] if above < len(self.written) else 0.0
