"""The gap after a batch, in which writers that wait for the file's lock get in.

SQLite has no queue for the write lock: who waits for it looks again, after 1, 2, 5, 10, 15, 20, 25, 25, 25,
50 and 50 ms, and then every 100 ms (`sqlite3_busy_timeout`). So a gap lets those in who have waited for as
long as the lock was held, if it is as long as the time between two looks of theirs.
"""

import time
from dataclasses import dataclass, field

from sql.sqlite.batch import BATCH
from sql.sqlite.connection import File

#: Milliseconds between two looks of one that waits, from the first on; then always the last.
_LOOKS = (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50, 100)
#: Seconds on top: to wake up, and to begin.
_TO_BEGIN = 0.003
#: So long a gap lets everybody in, however long they have waited.
WHOLE = _LOOKS[-1] / 1000 + _TO_BEGIN
#: Seconds between two such gaps, at most: nobody waits for longer, and alone we lose no more than a tenth.
WHOLE_EVERY = 1.0
#: For so many seconds after a commit of another connection there is a gap after each batch.
BUSY_FOR = 10.0


def after(held: float) -> float:
    """How long a gap lets those in who have waited for `held` seconds: a look of theirs falls into it."""
    waited = 0.0
    for look in _LOOKS:
        waited += look / 1000
        if waited >= held:
            return look / 1000 + _TO_BEGIN
    return WHOLE


@dataclass(slots=True)
class Gaps:
    """The gaps between the batches of one connection."""

    file: File
    _version: int | None = None
    _others_at: float | None = None
    _whole_at: float = field(default_factory=time.monotonic)
    """When everybody could get in last."""

    @property
    def others_write(self) -> bool:
        """Whether another connection has committed in the last seconds."""
        version = int(self.file.value(BATCH.data_version.filled()))
        if self._version is not None and version != self._version:
            self._others_at = time.monotonic()
        self._version = version
        return self._others_at is not None and time.monotonic() - self._others_at < BUSY_FOR

    def leave(self, held: float, *, throttle: bool) -> None:
        """Leave a gap after a batch that had the lock for `held` seconds, if there has to be one.

        Without `throttle` only those that keep the application from failing. What the WAL holds is copied
        into the file meanwhile: it keeps no writer waiting, and one of the application would do it else.
        """
        begun = time.monotonic()
        others = self.others_write
        whole = begun - self._whole_at >= WHOLE_EVERY
        due = WHOLE if whole else after(held) if others and throttle else 0.0
        if others or whole:
            self.file.rows(BATCH.checkpoint.filled())
        if due:
            time.sleep(max(0.0, due - (time.monotonic() - begun)))
        if whole:
            self._whole_at = time.monotonic()

    def rested(self, seconds: float) -> None:
        """Take note that nothing was written for so long, for whatever reason."""
        if seconds >= WHOLE:
            self._whole_at = time.monotonic()
