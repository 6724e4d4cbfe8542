"""The question before each batch, and its answer: go, rest for so many seconds, or hold; and why."""

import math
import time
from collections import deque
from dataclasses import dataclass, field

import psycopg
import redis
import structlog

from sql.postgres.connection import Pool
from worker.governor.commits import Commits, p90
from worker.governor.cost import Cost
from worker.governor.history import History
from worker.governor.limits import Sample
from worker.governor.shared import SAMPLE_EVERY, Answer, Posted, Shared, judged, next_posted
from worker.governor.signals import Look, look
from worker.governor.window import closed
from worker.governor.zones import Reading, Verdict, Zone, judge_sample
from worker.ledger import Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: A signal that cannot be read is not healthy: a sample older than this holds (lessons: gh-ost#361).
STALE_AFTER = 15.0
#: How long a worker waits before it asks again while held, in seconds.
ASK_AGAIN = 0.5
#: A worker's own batches count for so many seconds: a hold by them ends by itself, for no new one comes.
_RECENT = 10.0
#: A worker's own slow batches slow it down beside what the posted sample asks of all.
_OWN_SHARE = {Zone.SHED: 0.85, Zone.HALVE: 0.5}


@dataclass(frozen=True, slots=True)
class Go:
    """A batch may go now."""


@dataclass(frozen=True, slots=True)
class Rest:
    """No batch may go for so many seconds; then ask again. The pace wants it, nothing is wrong."""

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """No batch may go; ask again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample that this worker took and posted, for the ledger.

    `batch` is the worker's own p90 in seconds, None where it had no batch lately: no part of what is posted.
    """

    posted: Posted
    batch: float | None


@dataclass(slots=True)
class Governor:
    """One worker's view of what all share. `name` tells workers apart."""

    shared: Shared
    pool: Pool
    name: str
    taken: Taken | None = None
    """The last sample that this worker took and nobody has shown yet."""
    _posted: Posted | None = None
    _before: Posted | None = None
    """What was posted last, kept through a flush of the queue server: the pace goes on from it."""
    _history: History = field(default_factory=History)
    _unseen: str = ""
    """Why this worker's own last look saw nothing."""
    _ran: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=1_000))
    """When this worker's last batches ended, by its own clock, and their durations; seconds."""
    _last: tuple[float, float] = (-math.inf, 0.0)
    """The last of them, kept for longer."""
    _commits: Commits = field(init=False)

    def __post_init__(self) -> None:
        self._commits = Commits(self.pool)

    def ask(self, settings: Settings) -> Go | Rest | Hold:
        """May a batch go?

        One trip to the queue server, and one more once a second for one of all workers, that then samples.
        With nothing to throttle, no rate and no hours there is nothing to ask.
        """
        if not (settings.throttle or settings.active or _wants_rate(settings)):
            return Go()
        try:
            return self._ask(settings)
        except redis.RedisError as error:
            return Hold(f"the queue server does not answer: {type(error).__name__}")

    def _ask(self, settings: Settings) -> Go | Rest | Hold:
        # One turn for each question: a lone worker whose look takes longer than a turn lasts would else never
        # be done with it.
        turn = True
        while True:
            verdict, rate = self._verdict(settings), self._rate(settings)
            rest = self._rest(settings)
            pays = rate if verdict.zone is not Zone.HOLD and rest <= 0 else None
            answer = self.shared.ask(self.name, self._posted, sampling=settings.sampled, rate=pays, turn=turn)
            if answer.news:
                self._before, self._posted = self._posted or self._before, answer.posted
            if answer.turn:
                self._sample(settings, answer)
                turn = False
            if not (answer.news or answer.turn):
                break
        held = closed(settings.active, answer.now) or self._blind(settings, answer.now)
        if held is not None:
            return Hold(held)
        if verdict.zone is Zone.HOLD:
            return Hold(verdict.reason)
        if rest > 0:
            return Rest(rest, verdict.reason or "speeding up again")
        if answer.wait > 0:
            return Rest(answer.wait, f"rate limit: {rate:,.0f} rows/s")
        return Go()

    def _blind(self, settings: Settings, now: float) -> str | None:
        """Why nothing is known of the database's health, where something has to be."""
        if not settings.sampled:
            return None
        if self._posted is None:
            return f"no sample of the database's health yet: {self._unseen or 'somebody takes it'}"
        # From the time to come: the queue server's clock was put back, and a sample would never grow old.
        if not -SAMPLE_EVERY <= now - self._posted.at <= STALE_AFTER:
            because = f", {self._unseen}" if self._unseen else ""
            return f"the last sample of the database's health is old: over {STALE_AFTER:.0f} s{because}"
        return None

    def ran(self, seconds: float) -> None:
        """Remember how long a batch of this worker took, one that ran out of time too."""
        self._last = (time.monotonic(), seconds)
        self._ran.append(self._last)

    def paid(self, settings: Settings, rows: int) -> None:
        """Settle what a batch took, 0 rows where nothing came of it.

        With the queue server gone there is nothing to count in: what was paid in advance goes with it.
        """
        if _wants_rate(settings):
            try:
                self.shared.settle(self.name, rows)
            except redis.RedisError:
                return  # the next question holds for the same reason, and says so

    def _verdict(self, settings: Settings) -> Verdict:
        """What is posted and this worker's own batches mean under the limits of now; the worse of both."""
        if not settings.throttle:
            return Verdict(Zone.GROW, None, "")
        posted = (
            judge_sample(self._posted.sample, judged(settings), self._posted.trends, settings.unreadable)
            if self._posted is not None
            else Verdict(Zone.GROW, None, "")
        )
        own = self._own(settings)
        return own if own is not None and own.zone.severity > posted.zone.severity else posted

    def _own(self, settings: Settings) -> Verdict | None:
        limit, slow = settings.limits.get("batch"), self._slow_batch()
        if limit is None or slow is None:
            return None
        reading = Reading("batch", slow, limit, "this worker's own")
        return Verdict(reading.zone, "batch", str(reading)) if reading.zone is not Zone.GROW else None

    def _slow_batch(self) -> float | None:
        """The duration that nine of ten batches of the last seconds kept to; None where there was none."""
        now = time.monotonic()
        while self._ran and now - self._ran[0][0] > _RECENT:
            self._ran.popleft()
        return p90(seconds for _, seconds in self._ran)

    def _rest(self, settings: Settings) -> float:
        """Seconds of rest that are still due after the last batch, for the share of full speed.

        After a hold of 20 s none is: with the rest begun anew, the first batch came 25 s after its end.
        """
        if not settings.throttle or self._posted is None:
            return 0.0
        own = self._own(settings)
        share = self._posted.share * (_OWN_SHARE.get(own.zone, 1.0) if own is not None else 1.0)
        ended, took = self._last
        return took * (1 / share - 1) - (time.monotonic() - ended)

    def _rate(self, settings: Settings) -> float | None:
        """Rows a second that all workers may do together: the limit in rows, or that in WAL as rows."""
        rates = [float(settings.rows_per_second)] if settings.rows_per_second is not None else []
        if settings.wal_per_second is not None and self._posted is not None:
            rates.append(settings.wal_per_second / self._posted.cost.bytes_per_row)
        return min(rates, default=None)

    def _sample(self, settings: Settings, answer: Answer) -> None:
        """Look at the database and post what is seen, for it is this worker's turn."""
        try:
            with self.pool.connection(timeout=2) as connection:
                seen = look(connection, settings)
        except psycopg.Error as error:
            # What is posted grows old, and then it holds.
            self._unseen = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
            return
        self._unseen = ""
        before = answer.posted or self._before
        history, paid = self.shared.past()
        self._history = (history or self._history).and_now(seen, answer.now)
        cost = before.cost if before is not None else Cost()
        cost = cost.and_now(seen.written, paid, settings.wal_per_second)
        sample = self._history.sample(seen, answer.now, settings)
        calm = before.calm if before is not None else None
        if "commit" in judged(settings):
            sample, calm = self._with_commits(sample, seen, calm)
        posted = next_posted(before, sample, answer.now, settings, cost).model_copy(update={"calm": calm})
        self.shared.post(posted, self._history)
        self._posted = posted
        # A change, and by the one worker of all that saw it: not a line for each sample.
        if (posted.zone, posted.signal) != ((before.zone, before.signal) if before else (Zone.GROW, None)):
            log.info("pace", zone=posted.zone.value, share=round(posted.share, 2), reason=posted.reason)
        self.taken = Taken(posted, self._slow_batch())

    def _with_commits(self, sample: Sample, seen: Look, calm: float | None) -> tuple[Sample, float | None]:
        """The sample with what commits take longer; and what they take when calm.

        That is measured at a run's first turn to sample: no worker goes before a sample is posted. Nobody
        waits for a longer commit where nobody else is at work, and it slows nothing down.
        """
        if calm is None:
            calm = self._commits.calm()
        self._commits.watch()
        now = self._commits.lately()
        if calm is None or now is None:
            return sample, calm
        longer = max(0.0, now - calm) if seen.others else 0.0
        detail = f"{now * 1000:.1f} ms, {calm * 1000:.1f} before" if seen.others else "nobody else is at work"
        values, details = sample.values | {"commit": longer}, sample.details | {"commit": detail}
        return sample.model_copy(update={"values": values, "details": details}), calm


def _wants_rate(settings: Settings) -> bool:
    return settings.rows_per_second is not None or settings.wal_per_second is not None
