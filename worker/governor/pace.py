"""The question before each batch, and its answer: go after so many seconds, or hold and why."""

from dataclasses import dataclass

import psycopg
import redis

from sql.postgres.connection import Pool
from worker.governor.history import History
from worker.governor.shared import Posted, Shared, next_share
from worker.governor.signals import look
from worker.governor.zones import Verdict, Zone, judge, readings
from worker.ledger import Settings

#: A signal that cannot be read is not healthy: a sample older than this holds (lessons: gh-ost#361).
STALE_AFTER = 15.0
#: How long a worker waits before it asks again while held, in seconds.
ASK_AGAIN = 0.5


@dataclass(frozen=True, slots=True)
class Go:
    """A batch may go after `wait` seconds of rest; `reason` says what the rest is for."""

    wait: float
    reason: str


@dataclass(frozen=True, slots=True)
class Hold:
    """No batch may go; ask again."""

    reason: str


@dataclass(slots=True)
class Governor:
    """One worker's view of what all share. `name` tells workers apart."""

    shared: Shared
    pool: Pool
    name: str

    def ask(self, settings: Settings, last_batch: float) -> Go | Hold:
        """May a batch go? `last_batch` is the duration of this worker's last one, in seconds."""
        try:
            debt = 0.0
            if settings.rows_per_second is not None:
                debt = self.shared.spend(0, settings.rows_per_second)
            if not settings.throttle:
                return Go(debt, "rate limit")
            posted = self._newest(settings)
            if posted is None:
                return Hold("no sample of the database's health yet")
            age = self.shared.now() - posted.at
            if age > STALE_AFTER:
                return Hold(f"the last sample of the database's health is old: {age:.0f} s")
        except redis.RedisError as error:
            return Hold(f"the queue server does not answer: {type(error).__name__}")
        verdict = self.verdict(posted, settings)
        if verdict.zone is Zone.HOLD:
            return Hold(verdict.reason)
        rest = last_batch * (1 / posted.share - 1)
        return Go(rest, verdict.reason) if rest > debt else Go(debt, "rate limit")

    def paid(self, settings: Settings, rows: int) -> None:
        """Count rows against the rate limit. With the queue server gone there is nothing to count in."""
        if settings.rows_per_second is not None:
            try:
                self.shared.spend(rows, settings.rows_per_second)
            except redis.RedisError:
                return  # the next question holds for the same reason, and says so

    @staticmethod
    def verdict(posted: Posted, settings: Settings) -> Verdict:
        """What the posted sample means under the limits of now."""
        return judge(readings(posted.sample, settings.limits))

    def _newest(self, settings: Settings) -> Posted | None:
        """The posted sample, after taking a new one if it is this worker's turn."""
        before = self.shared.posted()
        if not self.shared.my_turn(self.name):
            return before
        try:
            with self.pool.connection() as connection:
                seen = look(connection, settings)
        except psycopg.Error:
            return before  # it grows old, and then it holds
        now = self.shared.now()
        history = (before.history if before else History()).and_now(seen, now)
        sample = history.sample(seen, now)
        verdict = judge(readings(sample, settings.limits))
        posted = Posted(
            sample=sample,
            share=next_share(before.share if before else 1.0, verdict.zone),
            at=now,
            history=history,
        )
        self.shared.post(posted)
        return posted
