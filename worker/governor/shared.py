"""What the workers of all hosts share, in Redis: one sample with its time, one pace, one budget of rows.

Times are the Redis server's own: the hosts' clocks are not compared. Everything here may be flushed; the
next worker that asks makes it again.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.governor.cost import Cost
from worker.governor.history import History
from worker.governor.limits import Limit, Sample, SignalName
from worker.governor.zones import Trend, Zone, judge_sample, trends
from worker.ledger import Settings

if TYPE_CHECKING:
    import redis

#: Who samples is decided anew this often, by whoever comes first; seconds.
SAMPLE_EVERY = 1.0
#: A batch is bounded by its statement's time-out, in less than two of these seconds with its second try: an
#: advance that was not settled by then is a killed worker's, and goes back into the budget.
ADVANCE_LASTS = 5.0
#: Nothing of a run that is over is kept for longer, in seconds.
_FORGET_AFTER = 600

#: One question before a batch, one trip: what is the time, is there news, is it my turn to sample; and, where
#: nothing of that has to be looked at first, an advance out of the budget. Whose turn it is is not left to a
#: key's expiry: with the server's clock put back an hour nobody would sample in that hour.
#:
#: The budget may go into debt, and while it is no batch begins. A batch pays what the last ones took before
#: it begins, and settles afterwards: eight workers that see the debt gone at the same instant would else all
#: begin. What no batch has told yet costs a second's worth.
_ASK = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local who, known = ARGV[1], ARGV[2]
local sampling, every = ARGV[3] == '1', tonumber(ARGV[4])
local rate, lasts, forget = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local at = redis.call('HGET', KEYS[1], 'at') or ''
local news, turn, wait = false, 0, 0
if sampling and at ~= known then news = redis.call('HGET', KEYS[1], 'posted') end
if every > 0 then
    local last = tonumber(redis.call('GET', KEYS[2]) or '')
    if not last or math.abs(now - last) >= every then
        redis.call('SET', KEYS[2], string.format('%.6f', now), 'EX', forget)
        turn = 1
    end
end
if rate > 0 and turn == 0 and (not sampling or at == known) then
    local kept = redis.call('HMGET', KEYS[3], 'rows', 'at', 'batch')
    local rows = (tonumber(kept[1]) or 0) + math.max(0, now - (tonumber(kept[2]) or now)) * rate
    local advances = redis.call('HGETALL', KEYS[4])
    for i = 1, #advances, 2 do
        local advance, since = string.match(advances[i + 1], '(%S+) (%S+)')
        if advances[i] == who or math.abs(now - tonumber(since)) > lasts then
            rows = rows + tonumber(advance)
            redis.call('HDEL', KEYS[4], advances[i])
        end
    end
    rows = math.min(rate / 4, rows)
    if rows >= 0 then
        local advance = tonumber(kept[3]) or rate
        rows = rows - advance
        redis.call('HSET', KEYS[4], who, string.format('%.3f %.6f', advance, now))
        redis.call('EXPIRE', KEYS[4], forget)
    else
        wait = -rows / rate
    end
    redis.call('HSET', KEYS[3], 'rows', string.format('%.3f', rows), 'at', string.format('%.6f', now))
    redis.call('EXPIRE', KEYS[3], forget)
end
return {string.format('%.6f', now), at, news, turn, string.format('%.6f', wait)}
"""

#: What a batch took in truth, in place of its advance. What the next is likely to take rises at once and
#: falls slowly: too big an advance comes back with the batch, too small a one lets too many begin.
_SETTLE = """
local rows = tonumber(ARGV[2])
local advance = redis.call('HGET', KEYS[2], ARGV[1])
local paid = 0
if advance then
    paid = tonumber(string.match(advance, '%S+'))
    redis.call('HDEL', KEYS[2], ARGV[1])
end
redis.call('HINCRBYFLOAT', KEYS[1], 'rows', string.format('%.3f', paid - rows))
redis.call('HINCRBY', KEYS[1], 'paid', ARGV[2])
if rows > 0 then
    local batch = math.max(rows, 0.8 * (tonumber(redis.call('HGET', KEYS[1], 'batch')) or 0))
    redis.call('HSET', KEYS[1], 'batch', string.format('%.3f', batch))
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""

_Kept = TypeVar("_Kept", bound=BaseModel)

_FACTOR = {Zone.GROW: 1.2, Zone.KEEP: 1.0, Zone.SHED: 0.85, Zone.HALVE: 0.5, Zone.HOLD: 0.5}


class Posted(BaseModel):
    """What was read, what it means for all, and when (the Redis server's clock, in microseconds exact).

    `share` is that of full speed, 0.05 to 1; `trends` is each signal so far; `cost` what a row costs in WAL;
    `calm` the seconds of a small commit before the first batch, None where nobody measured it.
    """

    model_config = ConfigDict(frozen=True)

    sample: Sample
    share: Annotated[float, Field(gt=0, le=1)]
    at: Annotated[float, Field(allow_inf_nan=False)]
    zone: Zone = Zone.GROW
    signal: SignalName | None = None
    reason: str = ""
    trends: dict[SignalName, Trend] = Field(default_factory=dict)
    cost: Cost = Cost()
    calm: float | None = None


def format_of(*models: type[BaseModel]) -> str:
    """Tells what is posted from what another version posts, which may hold a signal that is unknown here."""
    schemas = json.dumps([model.model_json_schema() for model in models], sort_keys=True)
    return hashlib.sha256(schemas.encode()).hexdigest()[:8]


_FORMAT = format_of(Posted, History)


def next_share(share: float, zone: Zone) -> float:
    """The share of full speed after one more sample; never under a twentieth, so that it can come back."""
    return min(1.0, max(0.05, share * _FACTOR[zone]))


def next_posted(before: Posted | None, sample: Sample, at: float, settings: Settings, cost: Cost) -> Posted:
    """What to post of a sample, after what was posted before; whoever took that one."""
    limits = judged(settings)
    trend = trends(before.trends if before else {}, sample, limits)
    verdict = judge_sample(sample, limits, trend, settings.unreadable)
    return Posted(
        sample=sample,
        share=next_share(before.share if before else 1.0, verdict.zone),
        at=at,
        zone=verdict.zone,
        signal=verdict.signal,
        reason=verdict.reason,
        trends=trend,
        cost=cost,
    )


def judged(settings: Settings) -> Mapping[SignalName, Limit]:
    """The limits that the sample is held against: none where nothing is to be throttled."""
    return settings.limits if settings.throttle else {}


def _read(kind: type[_Kept], data: bytes | None) -> _Kept | None:
    """What a worker kept in the queue; None where it is anybody else's, which the next writes over."""
    if not data:
        return None
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """The server's time, what is posted, whether this worker is to sample, and how long to wait for rows.

    `news` says that what is posted is not what the worker knew; then, and at its turn, it paid nothing.
    """

    now: float
    posted: Posted | None
    news: bool
    turn: bool
    wait: float


@dataclass(frozen=True, slots=True)
class Shared:
    """The keys of one namespace."""

    client: "redis.Redis"
    namespace: str

    def _key(self, name: str) -> str:
        return f"{self.namespace}:governor:{name}"

    def _of_this_version(self, name: str) -> str:
        """A key that no worker reads whose `Posted` is another: in a rolling upgrade each kind samples."""
        return f"{self._key(name)}:{_FORMAT}"

    def ask(
        self, who: str, known: Posted | None, *, sampling: bool, rate: float | None, turn: bool = True
    ) -> Answer:
        """Ask everything in one trip; pay in advance for a batch at `rate` rows a second, None for nothing.

        `turn`: whether this worker would sample now.

        Raises:
            redis.RedisError: the server does not answer.
        """
        keys = [
            *(self._of_this_version(name) for name in ("sample", "sampler")),
            *(self._key(name) for name in ("budget", "advances")),
        ]
        mark = f"{known.at:.6f}" if known is not None else ""
        every = SAMPLE_EVERY if sampling and turn else 0
        now, at, news, given, wait = cast(
            "tuple[bytes, bytes, bytes | None, int, bytes]",
            self.client.register_script(_ASK)(
                keys, [who, mark, int(sampling), every, rate or 0, ADVANCE_LASTS, _FORGET_AFTER], self.client
            ),
        )
        changed = sampling and at != mark.encode()
        posted = _read(Posted, news) if changed else known
        if at and posted is None:  # no news, or a worker would ask on and on
            changed, posted = False, known
        return Answer(now=float(now), posted=posted, news=changed, turn=bool(given), wait=float(wait))

    def settle(self, who: str, rows: int) -> None:
        """Tell how many rows a batch took, in place of its advance.

        Raises:
            redis.RedisError: the server does not answer.
        """
        keys = [self._key("budget"), self._key("advances")]
        self.client.register_script(_SETTLE)(keys, [who, rows, _FORGET_AFTER], self.client)

    def post(self, posted: Posted, history: History) -> None:
        """Show a sample to everybody, and keep what the next one needs of the past."""
        kept: dict[Any, str] = {
            "at": f"{posted.at:.6f}",
            "posted": posted.model_dump_json(),
            "history": history.model_dump_json(),
        }
        with self.client.pipeline() as pipeline:
            pipeline.hset(self._of_this_version("sample"), mapping=kept)
            pipeline.expire(self._of_this_version("sample"), _FORGET_AFTER)
            pipeline.execute()

    def past(self) -> tuple[History | None, int]:
        """What the last sample kept for the next, and how many rows were paid for so far."""
        with self.client.pipeline() as pipeline:
            pipeline.hget(self._of_this_version("sample"), "history")
            pipeline.hget(self._key("budget"), "paid")
            history, paid = pipeline.execute()
        return _read(History, history), int(paid) if paid and paid.isdigit() else 0
