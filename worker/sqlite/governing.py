"""Whether a SQLite file's next short transaction may go now, whichever stage's it is, and the gap after it.

The signals are those that exist for a file: how long batches had the write lock (`batch`), how long they
waited for it (`waited`), and the plan's own query. The pace is made of them as for PostgreSQL, without a
server to share it by.
"""

import os
import socket
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from sql.errors import FileBusyError
from sql.ledger import JOBS, send
from sql.sqlite import verify
from sql.sqlite.connection import File
from worker import audit, ledger
from worker.governor.commits import p90
from worker.governor.cost import Cost
from worker.governor.limits import UNREADABLE, Sample, SignalName, answered
from worker.governor.shared import SAMPLE_EVERY, Posted, next_posted
from worker.governor.window import closed
from worker.governor.zones import Zone
from worker.ledger import Settings
from worker.sqlite.batch import Done
from worker.sqlite.gaps import Gaps

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Seconds for which a batch counts, by how long it had the lock, and by how long it waited for that.
_HELD_COUNTS, _WAITED_COUNTS = 10.0, 2.0
#: Never rested for longer than this, in seconds, without a look at what the operator says meanwhile.
ASK_AGAIN = 0.5
#: Seconds that the plan's own query may take, as on a server.
_QUERY_WITHIN = 0.5
#: Seconds of a hold that are counted at a time.
_COUNT_HELD_EVERY = 5.0


@dataclass(slots=True)
class Governor:
    """The pace of a file's batches, and what is said of it in the ledger."""

    file: File
    migration: int
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    _gaps: Gaps = field(init=False)
    _ran: deque[tuple[float, Done]] = field(default_factory=lambda: deque(maxlen=1_000))
    _waited: tuple[float, float] = (0.0, 0.0)
    """When a batch last had waited for the lock, and for how long."""
    _posted: Posted | None = None
    _rest_until: float = 0.0
    _held: str | None = ""
    """By what signal batches are held; the empty text before anything was said of it."""
    _held_for: float = 0.0
    """Seconds of a hold that are not in the ledger yet."""
    _unreadable: set[SignalName] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._gaps = Gaps(self.file)

    def may_go(self, settings: Settings, job: int | None) -> bool:
        """Whether a batch may go now; after a rest where not, so that the caller reads the ledger again.

        A hold is counted as no work of the `job`'s, where it is one's.
        """
        now = time.monotonic()
        self._look(settings, now)
        reason = closed(settings.active, time.time()) or self._stopped(settings)
        self._say(reason)
        if reason is not None:
            self._rest(ASK_AGAIN)
            self._count_held(job, ASK_AGAIN)
            return False
        if self._held_for:
            self._count_held(job, 0.0)
        if self._rest_until > now:
            self._rest(min(ASK_AGAIN, self._rest_until - now))
        return self._rest_until <= time.monotonic()

    def failed(self, held: float, waited: float) -> None:
        """Take note of a batch that failed after `held` seconds with the lock, and leave the gap after it."""
        self._waited = (time.monotonic(), waited)
        self._gaps.leave(held, throttle=True)

    def done(self, settings: Settings, outcome: Done, begun: float) -> None:
        """Take note of a batch, `begun` then by the monotonic clock, and leave the gap after it."""
        ended = time.monotonic()
        self._waited = (ended, outcome.waited)
        self._ran.append((ended, outcome))
        self._gaps.leave(outcome.held, throttle=settings.throttle)
        self._rest_until = max(
            ended + self._pause(settings, outcome), begun + self._budget(settings, outcome)
        )

    def last(self, batches: int) -> list[Done]:
        """The last batches, the latest first."""
        return [done for _, done in list(self._ran)[: -batches - 1 : -1]]

    def forget(self) -> None:
        """Forget what batches took: another table's rows take another time."""
        self._ran.clear()

    def leave(self) -> None:
        """Nobody holds any more, for nobody is at work."""
        with _unless_busy():
            ledger.clear_held(self.file, self.migration)

    def _pause(self, settings: Settings, outcome: Done) -> float:
        """Seconds of rest after a batch, for the share of full speed."""
        if not settings.throttle or self._posted is None:
            return 0.0
        return outcome.held * (1 / self._posted.share - 1)

    @staticmethod
    def _budget(settings: Settings, outcome: Done) -> float:
        """Seconds that a batch takes, at the operator's rate."""
        return outcome.rows / settings.rows_per_second if settings.rows_per_second is not None else 0.0

    def _stopped(self, settings: Settings) -> str | None:
        if not settings.throttle or self._posted is None or self._posted.zone is not Zone.HOLD:
            return None
        return self._posted.reason

    def _rest(self, seconds: float) -> None:
        time.sleep(seconds)
        self._gaps.rested(seconds)

    def _count_held(self, job: int | None, seconds: float) -> None:
        """Count time that is no work of the job's; into the ledger now and then, and at the end of a hold."""
        if job is None:
            return
        self._held_for += seconds
        if not seconds or self._held_for >= _COUNT_HELD_EVERY:
            with _unless_busy():
                send(self.file, JOBS.count_held, job=job, seconds=self._held_for)
                self._held_for = 0.0

    def _look(self, settings: Settings, now: float) -> None:
        """Sample once a second, and show it."""
        before = self._posted
        if not settings.throttle or (before is not None and 0 <= now - before.at < SAMPLE_EVERY):
            return
        sample = self._sample(settings, now)
        posted = next_posted(before, sample, now, settings, Cost())
        if (posted.zone, posted.signal) != ((before.zone, before.signal) if before else (Zone.GROW, None)):
            log.info("pace", zone=posted.zone.value, share=round(posted.share, 2), reason=posted.reason)
        self._posted = posted
        with _unless_busy():
            ledger.show_governor(
                self.file,
                self.migration,
                zone=posted.zone.value,
                share=posted.share,
                reason=posted.reason,
                sample=sample,
            )
            self._tell_unreadable(sample, settings)

    def _sample(self, settings: Settings, now: float) -> Sample:
        values: dict[SignalName, float] = {}
        details: dict[SignalName, str] = {}
        held = p90(done.held for ended, done in self._ran if now - ended < _HELD_COUNTS)
        if held is not None:
            values["batch"] = held
        at, waited = self._waited
        values["waited"] = waited if now - at < _WAITED_COUNTS else 0.0
        if values["waited"]:
            details["waited"] = "a batch of ours, behind another writer"
        own = self._query(settings.query)
        return Sample(values=values | own.values, details=details, unreadable=own.unreadable, on_file=True)

    def _query(self, query: str | None) -> Sample:
        """The plan's own number. It can write nothing, and only this signal goes with it when it fails."""
        if query is None:
            return Sample()
        try:
            with verify.only_reading(self.file, seconds=_QUERY_WITHIN):
                # Of more than one row two tell as much as all.
                rows = self.file.execute(query).fetchmany(2)
        except (sqlite3.Error, FileBusyError) as error:
            return Sample(unreadable={"query": str(error)})
        return answered(rows)

    def _tell_unreadable(self, sample: Sample, settings: Settings) -> None:
        for signal, why in sample.unreadable.items():
            if signal in settings.limits and signal not in self._unreadable:
                self._unreadable.add(signal)
                then = UNREADABLE[settings.unreadable]
                message = f"{sample.label(signal)}: can't be read, {why}; {then}"
                audit.record_unreadable(self.file, self.migration, self.name, message)

    def _say(self, reason: str | None) -> None:
        """Show a change of mind in the ledger and the log: changes, not samples."""
        signal = reason.partition(":")[0] if reason else None
        if signal == self._held:
            return
        news = reason is not None or self._held != ""
        with _unless_busy():
            ledger.set_held(self.file, self.migration, self.name, reason)
            self._held = signal
        if news:
            log.info("held" if reason else "going on", reason=reason)


@contextmanager
def _unless_busy() -> Iterator[None]:
    """Leave out what is only shown, while another writer has the file."""
    try:
        yield
    except FileBusyError:
        log.info("another writer has the file; nothing is shown meanwhile")
