"""The backfill: each table's rows get their tenant, in batches; parents before their children.

Will do: freeze each table's last key, plan ahead of the workers one group at a time, ring, and prove that
nothing is left. Gate: none of its own; it follows the columns and their guard. Undoing: the column goes, and
with it the values; nothing is written back row by row.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median

import redis
import structlog
from psycopg import sql
from psycopg.errors import UndefinedTable

from control import proof
from control.announcing import Lookout
from control.course import go_on
from control.failing import stop_if_failing
from control.jobs import heap_of, is_instant, job_spec, parts
from control.keys import crossing
from control.plan.sections import Table
from control.stage import Ground, WithoutStatements
from control.status import remember_updates
from sql.errors import CatalogError, JobStoppedError, QuarantineError
from sql.postgres import catalog
from sql.postgres.analyze import put_off
from sql.postgres.batch import JobSQL
from sql.postgres.connection import Connection
from sql.postgres.facts import Table as CatalogTable
from sql.postgres.ledger import JOBS, send
from sql.tenant_source import Constant
from worker import batch as batches
from worker import jobs, ledger, paging
from worker.broker import Doorbell
from worker.jobs import Job

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Batches planned and rung ahead of the workers: with fewer pending the next group is planned; up to the
#: second figure also when the workers have taken every message, however many workers there are.
WINDOW, MOST = 128, 4_096
#: Batches of ranges visited once that a message points at, at most.
MESSAGE = 64
#: Seconds between two looks at the ledger, to plan the next group; and at what failed, was lost or is to be
#: rung again, which takes six statements of a server that has batches to do.
LOOK_EVERY, CARE_EVERY = 0.1, 0.5
#: On an empty queue, seconds without any outcome after which pending batches are rung again.
RING_AGAIN = 2.0
#: Seconds after which a batch is rung again whatever the queue holds: a killed worker keeps its message.
RING_LOST = 60.0
#: With so many messages waiting nothing is rung again: at a slow pace a batch's turn is long after its ring.
PLENTY = 64
#: Seconds that are counted at a time while every worker holds.
COUNT_HELD_EVERY = 5.0
#: A batch begun again this often with no outcome kills its worker or its backend, and is split.
LOST = 3
#: Where the ledger keeps that a way back has begun to put the sentinel back.
RESET = "reset"


@dataclass(frozen=True, slots=True)
class Backfill(WithoutStatements):
    """The stage."""

    name: str = "backfill"

    def work(self, ground: Ground) -> None:
        """Fill every table, and prove each complete before the next begins.

        Raises:
            QuarantineError: rows were set aside.
            JobStoppedError: more than half of the last batches failed.
        """
        # Left by a way back that was broken off: its work is undone by this one.
        jobs.forget_kind(ground.connection, ground.migration, "reset")
        for job in _with_late_rows(ground):
            jobs.set_state(ground.connection, job.id, "running")
        # Again until none had any: a partition may come to a table whose turn was over. Each time all:
        # begun anew after each table that had some, 200 tables were looked at 20,000 times.
        while [table for table in ground.plan.in_order() if _filled(ground, table)]:
            pass
        if facts := crossing.set_aside(ground):
            raise QuarantineError("backfill", facts, "Mend or delete them, then `tenantry run`")

    def amended(self, ground: Ground) -> bool:
        """Whether rows without a tenant have come since that could have one.

        In a partition that was attached with old ones; or by a transaction that saw their parent while that
        had none itself, and ended only after the proof.
        """
        if next(_with_late_rows(ground), None) is not None:
            return True
        begun = {job.part for job in jobs.of_migration(ground.connection, ground.migration)}
        parted = [name for name, table in ground.original.tables.items() if table.kind == "p"]
        live = catalog.read(ground.connection, parted).tables if begun and parted else {}
        return any(
            _has_unfilled(ground, ground.plan.table(name), part)
            for name, now in live.items()
            for part in parts(now)
            if part.identifier.as_string() not in begun
        )

    def unwork(self, ground: Ground) -> None:
        """Forget the jobs: what they filled is going."""
        jobs.forget(ground.connection, ground.migration)


def _with_late_rows(ground: Ground) -> Iterator[Job]:
    """The jobs that were proved complete and have rows again that could have their tenant."""
    for job in jobs.of_migration(ground.connection, ground.migration):
        if job.state != "complete" or isinstance(job.spec.source, Constant):
            continue
        one = {"job": job.id, "each": 1, "most": 1}
        try:
            late = ground.connection.execute(JobSQL(job.spec).sweep(), one).fetchone()
        except UndefinedTable:
            continue  # dropped since: that is told where its job is forgotten
        if late is not None:
            yield job


def _filled(ground: Ground, table: Table) -> bool:
    """Drive a table's jobs until all are complete; whether there was one to drive."""
    any_open = False
    while open_ := _open_jobs(ground, table):
        any_open = True
        for job in open_:
            with structlog.contextvars.bound_contextvars(table=job.part):
                drive(ground, job.id)
    return any_open


def _open_jobs(ground: Ground, table: Table) -> list[Job]:
    """The jobs of a table that are not complete; empty when all are, those of new partitions too.

    The partitions are those of now: one may be attached while the others are filled, with rows of its own,
    and old ones may be dropped or detached: their jobs are forgotten with them.

    Raises:
        CatalogError: the table itself is not there any more.
    """
    now = parts(catalog.read(ground.connection, [table.name]).table(table.name))
    there = [part.identifier.as_string() for part in now]
    for gone in jobs.forget_parts(ground.connection, ground.migration, table.name, there):
        log.info("a partition is gone, and its job with it", table=gone)
    return [job for job in jobs_of(ground, table, now) if job.state != "complete"]


def _has_unfilled(ground: Ground, table: Table, part: CatalogTable) -> bool:
    spec, _ = job_spec(ground.plan, table, part, heap_of(ground.connection, part))
    return bool(proof.unfilled(ground.connection, spec))


def jobs_of(ground: Ground, table: Table, now: Sequence[CatalogTable]) -> list[Job]:
    """The jobs of a table's parts, each made now if it isn't there: this freezes its bound.

    Raises:
        JobStoppedError: one stopped itself before; those after it are not begun.
    """
    names = [part.identifier.as_string() for part in now]
    begun = jobs.of_parts(ground.connection, ground.migration, names)
    for name, part in zip(names, now, strict=True):
        known = begun.get(name)
        if known is None:
            _begin(ground, table, part)
        elif known.state == "stopped":
            raise JobStoppedError(known.part, known.reason or "")
    begun = jobs.of_parts(ground.connection, ground.migration, names)
    return [begun[name] for name in names]


def _begin(ground: Ground, table: Table, part: CatalogTable) -> None:
    connection, plan, name = ground.connection, ground.plan, part.identifier.as_string()
    heap = heap_of(connection, part)
    spec, why = job_spec(plan, table, part, heap)
    # A partition that came later brought rows that the column's default never answered for.
    first = {found.oid for found in parts(ground.original.table(table.name))}
    instant = part.oid in first and is_instant(plan, table, ground.original) and not was_reset(ground)
    last = None if instant else paging.last_key(connection, spec, heap.pages)
    jobs.add(
        connection,
        ground.migration,
        table=table.name,
        part=name,
        spec=spec,
        last_key=last,
        batch_rows=paging.first_size(plan.backfill.first_batch, heap.rows, spec),
        rows_total=heap.rows,
        why="instant: the column's default answers for every row" if instant else why,
        state="complete" if instant else "running",
    )
    remember_updates(connection, ground.migration, name, spec)
    log.info(
        "job begun",
        table=name,
        paging=spec.paging,
        stripes=spec.stripes,
        why=why,
        last_key=last,
        instant=instant,
    )


def was_reset(ground: Ground) -> bool:
    """Whether rows may have the sentinel in a column whose default was another: a way back put it there."""
    return bool(ground.memory.recall(RESET))


def drive(ground: Ground, job_id: int) -> None:
    """Drive a job until it is proved complete, or its table is gone.

    Raises:
        QuarantineError: rows were set aside.
        JobStoppedError: more than half of the last batches failed.
    """
    _Drive(ground, job_id).to_the_end()


@dataclass(slots=True)
class _Drive:
    """Drives one job: plans ahead, rings, and proves."""

    ground: Ground
    job_id: int
    _unanswered: bool = False
    _target: float = 0.0
    """A batch's duration, as the plan or the operator wants it now; seconds."""
    _care_at: float = 0.0
    _held_at: float | None = None
    """Since when every worker holds, as far as it is not in the ledger yet."""
    _lookout: Lookout = field(init=False)

    def __post_init__(self) -> None:
        self._lookout = Lookout(self.ground, self.job_id)

    @property
    def _connection(self) -> Connection:
        return self.ground.connection

    @property
    def _doorbell(self) -> Doorbell:
        if self.ground.doorbell is None:
            raise CatalogError("the backfill needs a queue; this ground has none")
        return self.ground.doorbell

    def to_the_end(self) -> None:
        """Until the job is proved complete, or its table is gone.

        Raises:
            CancelledError: the operator cancelled the migration.
        """
        part = jobs.read(self._connection, self.job_id).part
        try:
            while not self._ended():
                pass
        except UndefinedTable:
            if jobs.is_there(self._connection, part):
                raise

    def _ended(self) -> bool:
        """Do what is next; True once the job is proved complete, or its table is gone."""
        standing = jobs.standing(self._connection, self.job_id)
        if standing.state in {"paused", "cancelled"}:
            # No batch may begin: there is nothing to plan, to ring or to complain of.
            self._lookout.paused()
            go_on(self.ground, STAGE.name)
            return False
        job, self._target = standing.job, standing.settings.target
        if job.state == "stopped":
            raise JobStoppedError(job.part, job.reason or "")
        pending = int(send(self._connection, JOBS.pending, job=job.id)[0]["count"])
        if not job.planned and (pending < WINDOW or (pending < MOST and self._waiting() == 0)):
            self._plan(job)
            return False
        if job.planned and pending == 0:
            if proof.proved(self._connection, self.ground.migration, job):
                return True
            self._ring(job, after=RING_LOST)  # what the proof found is batches now
            return False
        if time.monotonic() >= self._care_at:
            if not jobs.is_there(self._connection, job.part):
                return True
            stop_if_failing(self._connection, job)
            held = self._held(job)
            self._lookout.look(held=held)
            if not held:
                self._ring_again(job)
                self._put_analyze_off(job)
            self._care_at = time.monotonic() + CARE_EVERY
        time.sleep(LOOK_EVERY)
        return False

    def _held(self, job: Job) -> bool:
        """Whether every living worker holds: what they were rung for is theirs, and is not lost.

        Rung again for a night outside the plan's hours, a window of batches would be in the queue 500 times.
        The time counts as held, not as work.
        """
        now, holds = time.monotonic(), ledger.everybody_holds(self._connection, self.ground.migration)
        if self._held_at is not None and (not holds or now - self._held_at > COUNT_HELD_EVERY):
            send(self._connection, JOBS.count_held, job=job.id, seconds=now - self._held_at)
            self._held_at = None
        if holds and self._held_at is None:
            self._held_at = now
        return holds

    def _put_analyze_off(self, job: Job) -> None:
        table = sql.Identifier(job.spec.schema_, job.spec.table)
        if put_off(self._connection, table, job.started_at):
            log.info("an ANALYZE by autovacuum was put off: its snapshot stops pruning", table=job.part)

    def _waiting(self) -> int | None:
        """Messages that no worker has taken; None where the queue server doesn't say."""
        try:
            return self._doorbell.waiting()
        except redis.RedisError:
            return None

    def _plan(self, job: Job) -> None:
        rows = paging.resized(job.batch_rows, self._measured(job), self._target, job.spec.most_rows)
        paging.plan_group(self._connection, job, batch_rows=rows)
        send(self._connection, JOBS.count_settled, job=job.id)
        self._ring(job, after=RING_LOST)

    def _measured(self, job: Job) -> list[tuple[int, float]]:
        """The last batches' rows, and what they took in seconds, newest first."""
        recent = send(self._connection, JOBS.recent, job=job.id, most=11)
        return [(row["rows"], row["duration_ms"] / 1000) for row in recent]

    def _ring(self, job: Job, after: float) -> None:
        """Ring the batches that are due: never rung, or `after` seconds ago with nothing come of it."""
        due = sorted(
            row["id"] for row in send(self._connection, JOBS.ring, job=job.id, after=after, most=2000)
        )
        if not due:
            return
        try:
            for first, last in slices(due, self._seconds(job), paging.group(job.spec)):
                self._doorbell.ring(first, last)
            self._unanswered = False
        except redis.RedisError as error:
            send(self._connection, JOBS.unring, ids=due)
            if not self._unanswered:
                log.warning("the queue server does not answer; the ledger waits", error=type(error).__name__)
            self._unanswered = True

    def _seconds(self, job: Job) -> float:
        """What a batch takes, about: the last ones' middle, or the target before there are any."""
        last = [seconds for _, seconds in self._measured(job)]
        return median(last) if last else self._target

    def _ring_again(self, job: Job) -> None:
        waiting = self._waiting()
        idle = send(self._connection, JOBS.idle_seconds, job=job.id)[0]["idle"]
        if waiting is None or waiting < PLENTY:
            unanswered = waiting == 0 and (idle or 0) > RING_AGAIN
            self._ring(job, after=RING_AGAIN if unanswered else RING_LOST)
        for batch in jobs.lost(self._connection, job.id, LOST):
            batches.give_up(self._connection, batch, job.spec)


def slices(ids: Sequence[int], seconds: float, group: int = 1) -> Iterator[tuple[int, int]]:
    """Cut batch ids into runs for one message each: about a second of work, and a share for every worker.

    A message costs about 2 ms of worker time, a batch takes `seconds`: so a message carries several batches
    (design, section 2). A group of striped ranges is one message, whatever it takes: two workers in one group
    hold back each other's pruning (1.11 of the table's size instead of 1.07).
    """
    most = group if group > 1 else max(1, min(round(1.0 / max(seconds, 0.001)), MESSAGE, len(ids) // 4))
    for _, run in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        consecutive = [id_ for _, id_ in run]
        for start in range(0, len(consecutive), most):
            part = consecutive[start : start + most]
            yield part[0], part[-1]


STAGE = Backfill()
