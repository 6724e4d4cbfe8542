"""What the workers of all hosts share, in Redis: one sample with its time, one pace, one budget of rows.

Times are the Redis server's own: the hosts' clocks are not compared. Everything here may be flushed; the
next worker that asks makes it again.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from pydantic import BaseModel, ConfigDict

from worker.governor.history import History
from worker.governor.limits import Sample
from worker.governor.zones import Zone

if TYPE_CHECKING:
    import redis

#: Who samples is decided anew this often, by whoever comes first.
SAMPLE_EVERY = 1.0

#: A bucket that may go into debt: rows are paid for after the batch, when they are known, and the next
#: batch waits until the debt is gone. A worker that dies owes nothing.
_SPEND = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local rate = tonumber(ARGV[1])
local kept = redis.call('HMGET', KEYS[1], 'rows', 'at')
local rows = tonumber(kept[1]) or 0
local at = tonumber(kept[2]) or now
rows = math.min(rate / 4, rows + (now - at) * rate) - tonumber(ARGV[2])
redis.call('HSET', KEYS[1], 'rows', tostring(rows), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], 600)
return tostring(rows)
"""

_FACTOR = {Zone.GROW: 1.2, Zone.KEEP: 1.0, Zone.SHED: 0.85, Zone.HALVE: 0.5, Zone.HOLD: 0.5}


class Posted(BaseModel):
    """What was read, the share of full speed that it allows, and when (the Redis server's clock)."""

    model_config = ConfigDict(frozen=True)

    sample: Sample
    share: float
    at: float
    history: History = History()


def next_share(share: float, zone: Zone) -> float:
    """The share of full speed after one more sample; never under a twentieth, so that it can come back."""
    return min(1.0, max(0.05, share * _FACTOR[zone]))


@dataclass(frozen=True, slots=True)
class Shared:
    """The keys of one namespace."""

    client: "redis.Redis"
    namespace: str

    def _key(self, name: str) -> str:
        return f"{self.namespace}:governor:{name}"

    def now(self) -> float:
        """The server's clock, in seconds."""
        seconds, microseconds = self.client.time()
        return seconds + microseconds / 1_000_000

    def my_turn(self, who: str) -> bool:
        """Whether this worker takes the next sample."""
        return bool(self.client.set(self._key("sampler"), who, nx=True, px=int(SAMPLE_EVERY * 1000)))

    def post(self, posted: Posted) -> None:
        """Show a sample to everybody."""
        self.client.set(self._key("sample"), posted.model_dump_json(), ex=600)

    def posted(self) -> Posted | None:
        """The last sample that anybody posted."""
        kept = self.client.get(self._key("sample"))
        return Posted.model_validate_json(kept) if kept is not None else None

    def spend(self, rows: int, rate: int) -> float:
        """Pay for rows at `rate` rows a second; seconds until the budget is free again, 0 at once."""
        left = float(
            cast("bytes | str", self.client.eval(_SPEND, 1, self._key("budget"), str(rate), str(rows)))
        )
        return max(0.0, -left / rate)
