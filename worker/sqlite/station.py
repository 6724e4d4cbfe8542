"""The one place where a SQLite file's batches are done: what came of each, and how large the next one is."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sql.sqlite import guard
from sql.sqlite.batch import BATCH
from sql.sqlite.connection import File
from sql.sqlite.copying import is_wal
from worker.jobs import Batch, Job
from worker.ledger import Settings
from worker.paging import resized
from worker.sqlite import batch as batches
from worker.sqlite.batch import Done, Failed
from worker.sqlite.governing import Governor

#: Batches that the size of the next is made of.
_MEASURED = 5
#: Memory for a batch's pages, in KiB: what doesn't fit would be written into the WAL twice.
_CACHE = -65_536
#: What SQLite does itself: copy the WAL into the file at the commit that makes it so many pages long.
_CHECKPOINT_AT = 1_000


@dataclass(slots=True)
class Station:
    """A file's batches, at the governor's pace."""

    file: File
    migration: int
    _governor: Governor = field(init=False)
    _guarded: bool = field(init=False)
    _synchronous: str | None = None
    _of: int | None = None
    """Whose batches the governor remembers."""

    def __post_init__(self) -> None:
        self._governor = Governor(self.file, self.migration)
        self._guarded = guard.is_there(self.file)

    def may_go(self, settings: Settings, job: int) -> bool:
        """Whether a batch may go now; after a rest where not, so that the caller reads the ledger again."""
        return self._governor.may_go(settings, job)

    def run(self, batch: Batch, job: Job, settings: Settings) -> Done | Failed:
        """Do one batch of a job, and leave the gap after it.

        Raises:
            ServerError: the file is no database any more, or is damaged.
        """
        if job.id != self._of:
            self._governor.forget()
            self._of = job.id
        self._commit_as(settings)
        begun = time.monotonic()
        # A sweep's rows came late: rows that they tell of may be there already, with another tenant.
        first = self._guarded and not job.sweeps
        outcome = batches.run(self.file, batch, job.spec, first=first)
        if isinstance(outcome, Failed):
            self._governor.failed(time.monotonic() - begun - outcome.waited, outcome.waited)
        else:
            self._governor.done(settings, outcome, begun)
        return outcome

    def size(self, job: Job, target: float) -> int:
        """The size of a job's next batches, from how long its last ones had the lock."""
        ran = self._governor.last(_MEASURED) if job.id == self._of else []
        return resized(job.batch_rows, [(done.rows, done.held) for done in ran], target, job.spec.most_rows)

    def _commit_as(self, settings: Settings) -> None:
        # In WAL mode NORMAL loses the last batches at most; with a rollback journal it could tear the file.
        quick = settings.synchronous_commit == "off" and is_wal(self.file)
        how = "NORMAL" if quick else "FULL"
        if how != self._synchronous:
            self.file.execute(BATCH.synchronous.filled(how=how))
            self._synchronous = how

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have the connection as batches want it until the end of the context."""
        for setting in (
            BATCH.cache.filled(size=str(_CACHE)),
            # Between two batches, not at the end of one: it would count as time with the lock, and isn't.
            BATCH.checkpoint_by_itself.filled(pages="0"),
        ):
            self.file.rows(setting)
        try:
            yield
        finally:
            self._synchronous = None
            self.file.execute(BATCH.synchronous.filled(how="FULL"))
            self.file.rows(BATCH.checkpoint_by_itself.filled(pages=str(_CHECKPOINT_AT)))
            self.file.rows(BATCH.checkpoint.filled())
            self._governor.leave()
