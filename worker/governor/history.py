"""What was seen before, and what a new look means by it: replica lag as time, WAL as a rate.

It travels with the posted sample, so that it does not matter who takes the next one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from worker.governor.limits import Limit, Sample, SignalName
from worker.governor.signals import Look, Standby
from worker.ledger import Settings

#: Positions are kept as far apart as this share of their age: each second's of the last minute, and of hours
#: few enough to travel with every sample.
_SPACING = 0.02
#: Kept for so many seconds: past every sensible stop.
_KEPT_FOR = 86_400.0
#: The rate of WAL is the mean of so many seconds; it says nothing before half of them are over.
_RATE_OVER = 5.0


class Known(BaseModel):
    """A standby as it was last seen: where it stood, in bytes, and when, in the Redis server's seconds."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    replayed: float
    seen: float


class History(BaseModel):
    """When which position in the WAL was written: bytes, and the Redis server's seconds; oldest first.

    `standbys` are those of the last look and those that streamed before and don't now; `timeline` is the
    server's as of which they are missed.
    """

    model_config = ConfigDict(frozen=True)

    written: tuple[tuple[float, float], ...] = ()
    standbys: tuple[Known, ...] = ()
    timeline: int | None = None

    def and_now(self, look: Look, now: float) -> "History":
        """The history with this look in it."""
        # A server that was failed over to may be behind the one before: what that wrote is not in its WAL.
        before = [mark for mark in self.written if mark[0] <= look.written and mark[1] <= now]
        written = tuple(_thinned([*before, (look.written, now)], now))
        if "lag" in look.sample.unreadable:
            return self.model_copy(update={"written": written})
        since = look.timeline if self.timeline is None else self.timeline
        known = tuple(_known(self.standbys, look.standbys, now))
        streaming = tuple(each for each in known if each.seen == now)
        if are_primaries(len(known) - len(streaming), since, look.timeline):
            known, since = streaming, look.timeline
        return History(written=written, standbys=known, timeline=since)

    def sample(self, look: Look, now: float, settings: Settings) -> Sample:
        """The look's sample with lag, of the standby that is furthest behind, and with the rate of WAL.

        `self` is the history with this look in it.
        """
        values: dict[SignalName, float] = {}
        details: dict[SignalName, str] = {}
        if "lag" not in look.sample.unreadable:
            values, details = self._lag(look, now, settings)
        rate = self._rate(now)
        if rate is not None:
            values["wal_rate"], details["wal_rate"] = rate[0], f"over {rate[1]:.0f} s"
        return look.sample.model_copy(
            update={"values": look.sample.values | values, "details": look.sample.details | details}
        )

    def _lag(
        self, look: Look, now: float, settings: Settings
    ) -> tuple[dict[SignalName, float], dict[SignalName, str]]:
        past = _stop(settings.limits.get("lag")), _stop(settings.limits.get("lag_bytes"))
        behind = [
            # One that is gone and ahead of the server, which was failed over to, can't follow it.
            (*past, name)
            if known.seen != now and known.replayed > look.written
            else (self.behind(known.replayed, now), max(0.0, look.written - known.replayed), name)
            for known, name in self._counted(now, settings)
        ]
        # One that streamed when the run began and was never seen since: the queue server was flushed, or it
        # was gone before the first look. Nobody knows how far it is.
        missing = Counter(settings.standbys) - Counter(known.name for known in self.standbys)
        if not are_primaries(missing.total(), settings.timeline, look.timeline):
            behind += [(*past, _gone(name)) for name in missing if name not in settings.forget_standbys]
        if not behind:
            return {}, {}
        seconds, _, slowest = max(behind)
        _, size, furthest = max(behind, key=lambda standby: standby[1])
        return {"lag": seconds, "lag_bytes": size}, {"lag": slowest, "lag_bytes": furthest}

    def _counted(self, now: float, settings: Settings) -> Iterator[tuple[Known, str]]:
        """The standbys that count, and what to call them: all, but those gone that an operator forgot."""
        for known in self.standbys:
            if known.seen == now:
                yield known, known.name
            elif known.name not in settings.forget_standbys:
                yield known, _gone(known.name)

    def behind(self, replayed: float, now: float) -> float:
        """Seconds since the position next above `replayed` was written; 0 where nothing is above it.

        `pg_stat_replication.replay_lag` does not say that when the server is idle.
        """
        above = bisect_left(self.written, (replayed, float("inf")))
        return now - self.written[above][1] if above < len(self.written) else 0.0

    def _rate(self, now: float) -> tuple[float, float] | None:
        """Bytes of WAL a second, and over how many seconds; None while there is too little to tell."""
        if len(self.written) < 2:
            return None
        written, _ = self.written[-1]
        before, since = next(
            (mark for mark in reversed(self.written) if now - mark[1] >= _RATE_OVER), self.written[0]
        )
        seconds = now - since
        return ((written - before) / seconds, seconds) if seconds >= _RATE_OVER / 2 else None


def are_primaries(gone: int, since: int | None, now: int) -> bool:
    """Whether so many standbys are gone because they became the primary, from one timeline to another.

    Nothing on a server says what it was called as a standby. Each failover takes one of them away, so where
    more are gone, all are missed: one of them may have stayed behind.
    """
    return gone <= (now - since if since is not None else 0)


def _gone(name: str) -> str:
    return f"{name}, not streaming"


def _stop(limit: Limit | None) -> float:
    """A value that is past all limits of a signal; 0 for one that has none."""
    return max(limit.max or 0.0, limit.stop or 0.0) if limit is not None else 0.0


def _thinned(marks: list[tuple[float, float]], now: float) -> list[tuple[float, float]]:
    kept = marks[-1:]
    for mark in reversed(marks[:-1]):
        age = now - mark[1]
        if kept[-1][1] - mark[1] >= age * _SPACING and age <= _KEPT_FOR:
            kept.append(mark)
    return kept[::-1]


def _known(before: tuple[Known, ...], streaming: tuple[Standby, ...], now: float) -> Iterator[Known]:
    """The standbys streaming now, and those of before that don't.

    A connection is told by its walsender and its name: after a restart pids are used again. A new one takes
    the place of one of its name that is gone, the last seen first: standbys that all bear the default name
    are as many as ever streamed at once.
    """
    gone = {(known.pid, known.name): known for known in sorted(before, key=lambda known: known.seen)}
    new = [standby for standby in streaming if gone.pop((standby.pid, standby.name), None) is None]
    for standby in new:
        same = [key for key in gone if key[1] == standby.name]
        if same:
            del gone[same[-1]]
    yield from (Known(name=each.name, pid=each.pid, replayed=each.replayed, seen=now) for each in streaming)
    yield from gone.values()
