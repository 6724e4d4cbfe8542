"""A standby that stops replaying in the middle of a backfill: how soon it holds, and how soon it goes on.

The standby is of a server of its own: its base backup is of all that is on the primary.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psycopg

from control.embedded.postgres import start_postgres
from tests.benchmarks.application import RATE, applied
from tests.benchmarks.backfills import plan_of
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.governed import ROWS, WORKERS, Backfilling, backfilling, shown
from tests.benchmarks.tables import SETTLED, Tables, settle
from tests.integration.standby import standby
from tests.waiting import until
from worker import ledger

NAME = "governor-standby"
#: Seconds for which the standby does not replay.
_PAUSED = 20.0
#: So many rows are done before: the backfill is at its pace.
_BEFORE = 200_000

_POSITIONS = (
    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, "
    "(SELECT pg_wal_lsn_diff(replay_lsn, '0/0')::float8 FROM pg_stat_replication)"
)
_DONE = "SELECT coalesce(sum(rows), 0) FROM tenantry.batches WHERE state = 'done'"
_BEGUN_WITHIN = (
    "SELECT count(*) FROM tenantry.batches WHERE state = 'done' "
    "AND finished_at - duration_ms * interval '1 ms' > to_timestamp({begun!r}) "
    "AND finished_at < to_timestamp({ended!r})"
)
_FIRST_AFTER = (
    "SELECT extract(epoch FROM min(finished_at)) FROM tenantry.batches "
    "WHERE state = 'done' AND finished_at > to_timestamp({since!r})"
)


@dataclass
class Replay:
    """How far the standby is behind, by our own notes of when which position was written."""

    look: psycopg.Connection
    positions: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    bytes_behind: float = 0.0

    def lag(self) -> float:
        """Seconds since the first position was written that the standby has not replayed; 0 for none."""
        row = self.look.execute(_POSITIONS.encode()).fetchone()
        assert row is not None
        assert row[1] is not None, "the standby has gone"
        self.positions.append(row[0])
        self.times.append(time.time())
        self.bytes_behind = row[0] - row[1]
        return behind(self.positions, self.times, row[1])


def behind(positions: Sequence[float], times: Sequence[float], replayed: float) -> float:
    """Seconds from when the first position above `replayed` was seen to the last look; 0 for none above."""
    above = bisect_right(positions, replayed)
    return times[-1] - times[above] if above < len(positions) else 0.0


def measure(_tables: Tables) -> list[Figure]:
    """The standby is paused for twenty seconds in the middle; the backfill goes on by itself to its end."""
    with start_postgres(settings=SETTLED) as server:
        settle(server)
        url = Tables(server, ROWS).big("ordered")
        plan = plan_of(url)
        stop = plan.governor.limits()["lag"].stop
        assert stop is not None
        with (
            standby(server, "replica") as replica,
            psycopg.connect(server.url(), autocommit=True) as look,
            applied(url, ROWS) as application,
            backfilling(plan, WORKERS) as work,
        ):
            begun = time.time()
            replay = Replay(look)
            until(lambda: replay.lag() >= 0 and work.number(_DONE) >= _BEFORE, "the first rows")
            replica.pause()
            paused = time.time()
            passed = _when(lambda: replay.lag() > stop, "the lag to pass its limit")
            held = _when(lambda: replay.lag() and _holds(work), "the hold")
            until(
                lambda: replay.lag() >= 0 and time.time() > paused + _PAUSED, "the pause", within=_PAUSED + 10
            )
            most = replay.bytes_behind
            replica.resume()
            caught_up = _when(lambda: replay.lag() < stop, "the standby to catch up")
            late = int(work.number(_BEGUN_WITHIN.format(begun=held, ended=caught_up)))
            resumed = until(lambda: work.number(_FIRST_AFTER.format(since=caught_up)), "the next batch")
            work.end(600)
            ended = time.time()
            felt = application.stop().between(begun, ended)
    says = f"a standby paused for {_PAUSED:.0f} s in a backfill of {ROWS:,} rows"
    values = {
        Bar("seconds from the limit to the hold", must=3.0, at_most=True): held - passed,
        Bar("batches begun while held", must=0.0, at_most=True): late,
        Bar("seconds from caught up to the next batch", must=3.0, at_most=True): resumed - caught_up,
        Bar("MB behind at most"): most / 1e6,
        **shown(f"meanwhile, {RATE}/s", felt),
    }
    return [Figure(NAME, says, bar, (value,)) for bar, value in values.items()]


def _when(condition: Callable[[], object], what: str) -> float:
    until(condition, what)
    return time.time()


def _holds(work: Backfilling) -> bool:
    return ledger.everybody_holds(work.look, work.migration)
