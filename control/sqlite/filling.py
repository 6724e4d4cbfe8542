"""Drives the jobs of a SQLite file, in this very process: plans ahead, does batches, and proves the end."""

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from control.announcing import Lookout
from control.completion import SWEPT, Scan, proved, swept_together
from control.course import go_on
from control.failing import stop_if_failing
from control.sqlite.stage import Ground
from sql.errors import FileBusyError, JobStoppedError
from sql.job import Key, Range
from sql.ledger import JOBS, send
from sql.sqlite.batch import ROWID, JobSQL
from sql.sqlite.connection import File
from sql.sqlite.failure import refused, sqlstate
from worker import jobs, ledger
from worker.failure import Failure, sorted_by
from worker.jobs import Batch, Job
from worker.sqlite import batch as batches
from worker.sqlite import paging
from worker.sqlite.batch import Failed
from worker.sqlite.station import Station

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Batches that are planned at a time: their size follows the last ones'.
AHEAD = 2
#: Seconds between two looks while batches wait for their next try; and between two tries while the file is
#: another writer's, at first and at most.
LOOK_EVERY, FIRST_WAIT, LONGEST_WAIT = 0.1, 0.1, 5.0
#: Seconds between two looks at what there is to announce.
LOOK_OUT_EVERY = 0.5
#: A batch begun again this often with no outcome kills its process, and is split.
LOST = 3
#: Rows that are set aside in one transaction.
ASIDE = 500


def drive(ground: Ground, job_id: int, station: Station) -> None:
    """Drive a job until it is proved complete.

    Raises:
        QuarantineError: rows were set aside.
        JobStoppedError: more than half of the last batches failed.
        CancelledError: the operator cancelled the migration.
        ServerError: SQLite refused something that no other try will mend.
    """
    with ground.connection.impatient():  # it waits itself, and looks meanwhile whether it may go on
        _Drive(ground, job_id, station).to_the_end()


@dataclass(slots=True)
class _Drive:
    """Drives one job."""

    ground: Ground
    job_id: int
    station: Station
    _begun: bool = False
    """Whether a batch that is due has been begun in the ledger by this process."""
    _wait: float = field(default=FIRST_WAIT)
    _look_at: float = 0.0
    _lookout: Lookout = field(init=False)

    def __post_init__(self) -> None:
        self._lookout = Lookout(self.ground, self.job_id)

    @property
    def _file(self) -> File:
        return self.ground.connection

    def to_the_end(self) -> None:
        while True:
            try:
                if self._ended():
                    return
                self._wait = FIRST_WAIT
            except FileBusyError as error:
                self._stand_back(error.reason)
            except sqlite3.Error as error:
                if sorted_by(sqlstate(error)) is not Failure.WAIT:
                    raise refused("the backfill", error) from error
                self._stand_back(str(error))

    def _stand_back(self, reason: str) -> None:
        """Wait for a while: nothing can be written, not even that."""
        log.warning("the file can't be written", reason=reason, next_try_in=self._wait)
        self.ground.notify(f"backfill: the file can't be written ({reason}); it is tried again")
        time.sleep(self._wait)
        self._wait = min(LONGEST_WAIT, self._wait * 2)

    def _ended(self) -> bool:
        """Do what is next; True once the job is proved complete."""
        standing = jobs.standing(self._file, self.job_id)
        if standing.state in {"paused", "cancelled"}:
            self._lookout.paused()
            go_on(self.ground, "backfill")
            return False
        job = standing.job
        if job.state == "stopped":
            raise JobStoppedError(job.part, job.reason or "")
        if time.monotonic() >= self._look_at:
            self._lookout.look(held=ledger.everybody_holds(self._file, self.ground.migration))
            self._look_at = time.monotonic() + LOOK_OUT_EVERY
        if not self._begun:
            self._give_up_lost(job)
        batch = self._due(job)
        if batch is None:
            return self._nothing_due(job, standing.settings.target)
        if not self.station.may_go(standing.settings, job.id):
            return False
        outcome = self.station.run(batch, job, standing.settings)
        if isinstance(outcome, Failed):
            self._begun = False
            stop_if_failing(self._file, job)
            if outcome.failure is Failure.LOCKED:
                self._stand_back(outcome.error)
        return False

    def _due(self, job: Job) -> Batch | None:
        """The batch that may go next, begun in the ledger."""
        found = jobs.due(self._file, job.id)
        if found is not None and not self._begun:
            batches.begin(self._file, found)
        self._begun = found is not None
        return found

    def _give_up_lost(self, job: Job) -> None:
        for batch in jobs.lost(self._file, job.id, LOST - 1):
            batches.give_up(self._file, batch, job.spec)
            stop_if_failing(self._file, job)

    def _nothing_due(self, job: Job, target: float) -> bool:
        if not job.planned:
            self._plan(job, self.station.size(job, target))
            return False
        if send(self._file, JOBS.pending, job=job.id)[0]["count"]:
            time.sleep(LOOK_EVERY)
            return False
        return proved(self._file, self.ground.migration, job, scan_of(self._file, job))

    def _plan(self, job: Job, rows: int) -> None:
        """Plan what comes next, and begin the first of it: one commit, for each waits for the disk."""
        bounds = paging.next_bounds(self._file, job, rows, AHEAD)
        with self._file.transaction():
            paging.plan(self._file, job, bounds, batch_rows=rows)
            send(self._file, JOBS.count_settled, job=job.id)
            self._due(job)


def scan_of(file: File, job: Job) -> Scan:
    """The final scan of a job."""
    return Scan(
        left=lambda: int(file.value(JobSQL(job.spec).unfilled())),
        ranges=lambda left: _unswept(file, job, left),
    )


def late(file: File, job: Job) -> bool:
    """Whether a row of a job could have its tenant and hasn't."""
    return bool(file.rows(JobSQL(job.spec).sweep(), {"job": job.id, "most": 1}))


def _unswept(file: File, job: Job, left: int) -> list[Range]:
    """The ranges of a sweep, once the rows whose tenant no source tells are set aside."""
    job_sql, each = JobSQL(job.spec), swept_together(left, job.rows_total)
    asked = {"job": job.id, "most": each * SWEPT}
    try:
        _set_aside(file, job)
        found = file.rows(job_sql.sweep(), asked)
    except sqlite3.Error as error:
        if sorted_by(sqlstate(error)) is not Failure.DATA:
            raise
        # The source fails for a row that came after the bound, and the error doesn't say for which:
        # batches find it, and set it aside.
        found = file.rows(job_sql.sweep(ask=False), asked)
    keys = [paging.key_in(row) for row in found]
    return [
        Range(by="key", lower=_below(file, job, some[0]), upper=some[-1], stripe=None)
        for some in (keys[at : at + each] for at in range(0, len(keys), each))
    ]


def _below(file: File, job: Job, key: Key) -> Key | None:
    """A bound right below a row: from the last row of the range before, a batch would read all in between."""
    if job.spec.key[0].type == ROWID:
        return [str(int(key[0]) - 1)] if int(key[0]) > -(2**63) else None
    rows = file.rows(JobSQL(job.spec).below(key))
    return paging.key_in(rows[0]) if rows else None


def _set_aside(file: File, job: Job) -> None:
    """Put the rows whose source gives them no tenant into quarantine: read without a lock, written in few."""
    job_sql, most = JobSQL(job.spec), ASIDE * 200
    while found := file.rows(job_sql.unknown(), {"job": job.id, "most": most}):
        keys = [paging.key_in(row) for row in found]
        aside = sum(_written(file, job, keys[at : at + ASIDE]) for at in range(0, len(keys), ASIDE))
        log.info("rows are set aside, no source tells their tenant", table=job.part, rows=aside)
        if not aside:
            return  # all of them have theirs meanwhile


def _written(file: File, job: Job, keys: Sequence[Key]) -> int:
    job_sql = JobSQL(job.spec)
    with file.transaction():
        return sum(
            file.execute(
                job_sql.set_aside(key),
                {"job": job.id, "key": json.dumps(key, ensure_ascii=False), "now": time.time()},
            ).rowcount
            for key in keys
        )
