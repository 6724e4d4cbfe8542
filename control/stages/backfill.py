"""The backfill: each table's rows get their tenant, in batches; parents before their children.

Will do: freeze each table's last key, plan ahead of the workers one group at a time, ring, and prove that
nothing is left. Gate: none of its own; it follows the columns and their guard. Undoing: the column goes, and
with it the values; nothing is written back row by row.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import redis
import structlog

from control.plan.model import Plan, Table
from control.stage import Ground, WithoutStatements
from control.status import remember_updates
from sql.errors import CatalogError, JobStoppedError, QuarantineError
from sql.job import JobSpec, Key, KeyColumn, Range
from sql.postgres.batch import JobSQL, bound_parameters, rows_estimate
from sql.postgres.catalog import Table as CatalogTable
from sql.postgres.connection import Connection
from sql.postgres.ledger import send
from worker import batch as batches
from worker import ledger, paging
from worker.broker import Doorbell
from worker.ledger import Job

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Batches planned and rung ahead of the workers: when fewer are pending, the next group is planned.
WINDOW = 64
#: Seconds between two looks at the ledger.
LOOK_EVERY = 0.1
#: On an empty queue, seconds without any outcome after which pending batches are rung again.
RING_AGAIN = 2.0
#: Seconds after which a batch is rung again whatever the queue holds: a killed worker keeps its message.
RING_LOST = 60.0
#: A batch begun again this often with no outcome kills its worker or its backend, and is split.
LOST = 3
#: Rows that the final scan hands over at a time.
STRAGGLERS = 1000


def key_of(table: CatalogTable) -> tuple[KeyColumn, ...]:
    """The key that pages are cut by: the primary key, or else a unique index without NULLs.

    Raises:
        CatalogError: the table has neither.
    """
    unique = (i.columns for i in table.indexes if i.unique and i.valid and _all_not_null(table, i.columns))
    names = table.primary_key.columns if table.primary_key else next(unique, None)
    if names is None:
        raise CatalogError(f"{table.name} has no primary key and no unique index without NULLs; give it one")
    columns = [column for name in names if (column := table.column(name)) is not None]
    return tuple(KeyColumn(name=column.name, type=column.type) for column in columns)


def _all_not_null(table: CatalogTable, names: Sequence[str]) -> bool:
    columns = [table.column(name) for name in names]
    return bool(columns) and all(column is not None and column.not_null for column in columns)


def job_spec(plan: Plan, table: Table, found: CatalogTable, stripes: int) -> JobSpec:
    """What the workers are told of a table."""
    in_unique = any(i.unique and plan.tenant.column in i.columns for i in found.indexes)
    return JobSpec(
        schema_=found.schema_,
        table=found.name,
        key=key_of(found),
        stripes=stripes,
        tenant_column=plan.tenant.column,
        sentinel=plan.tenant.sentinel_value,
        source=table.tenant,
        tenant_in_unique_index=in_unique,
    )


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
        for table in ground.plan.in_order():
            job = job_of(ground, table)
            if job.state != "complete":
                with structlog.contextvars.bound_contextvars(table=table.name):
                    _Drive(ground, job.id).to_the_end()

    def unwork(self, ground: Ground) -> None:
        """Forget the jobs: what they filled is going."""
        ledger.forget_jobs(ground.connection, ground.migration)


def job_of(ground: Ground, table: Table) -> Job:
    """The table's job, made now if it isn't there: this freezes its bound."""
    connection, migration = ground.connection, ground.migration
    known = ledger.jobs(connection, migration).get(table.name)
    if known is not None and known.state != "stopped":
        return known
    if known is not None:
        raise JobStoppedError(table.name, known.reason or "")
    found = ground.original.tables[table.name]
    bare = job_spec(ground.plan, table, found, stripes=1)
    stripes = paging.stripes_for(connection, bare, ground.plan.backfill.paging)
    spec = bare.model_copy(update={"stripes": stripes})
    instant = table.constant is not None and found.column(ground.plan.tenant.column) is None
    last = None if instant else paging.last_key(connection, spec)
    rows = rows_estimate(connection, spec, found.oid)
    ledger.add_job(
        connection,
        migration,
        table=table.name,
        spec=spec,
        last_key=last,
        batch_rows=paging.first_size(ground.plan.backfill.first_batch, rows, stripes),
        rows_total=rows,
        state="complete" if instant else "running",
    )
    remember_updates(connection, migration, table.name, spec)
    log.info("job begun", table=table.name, stripes=stripes, last_key=last, instant=instant)
    return ledger.jobs(connection, migration)[table.name]


@dataclass(slots=True)
class _Drive:
    """Drives one job: plans ahead, rings, and proves."""

    ground: Ground
    job_id: int
    _unanswered: bool = False

    @property
    def _connection(self) -> Connection:
        return self.ground.connection

    @property
    def _doorbell(self) -> Doorbell:
        if self.ground.doorbell is None:
            raise CatalogError("the backfill needs a queue; this ground has none")
        return self.ground.doorbell

    def to_the_end(self) -> None:
        """Until the job is proved complete."""
        while True:
            job = ledger.job(self._connection, self.job_id)
            pending = int(send(self._connection, "pending", job=job.id)[0]["count"])
            if not job.planned and pending < WINDOW:
                self._plan(job)
                continue
            if job.planned and pending == 0:
                if self._proved(job):
                    return
                continue
            self._stop_if_failing(job)
            self._ring_again(job)
            time.sleep(LOOK_EVERY)

    def _plan(self, job: Job) -> None:
        recent = send(self._connection, "recent", job=job.id, most=11)
        target = self.ground.plan.backfill.target_seconds
        rows = paging.resized(job.batch_rows, [row["duration_ms"] / 1000 for row in recent], target)
        paging.plan_group(self._connection, job, batch_rows=rows)
        self._ring(job, after=RING_LOST)

    def _ring(self, job: Job, after: float) -> None:
        """Ring the batches that are due: never rung, or `after` seconds ago with nothing come of it."""
        due = sorted(row["id"] for row in send(self._connection, "ring", job=job.id, after=after, most=2000))
        try:
            for first, last in slices(due, self.ground.plan.backfill.target_seconds):
                self._doorbell.ring(first, last)
            self._unanswered = False
        except redis.RedisError as error:
            send(self._connection, "unring", ids=due)
            if not self._unanswered:
                log.warning("the queue server does not answer; the ledger waits", error=type(error).__name__)
            self._unanswered = True

    def _ring_again(self, job: Job) -> None:
        try:
            empty = self._doorbell.waiting() == 0
        except redis.RedisError:
            empty = False
        idle = send(self._connection, "idle_seconds", job=job.id)[0]["idle"]
        self._ring(job, after=RING_AGAIN if empty and (idle or 0) > RING_AGAIN else RING_LOST)
        for batch in ledger.lost(self._connection, job.id, LOST):
            batches.give_up(self._connection, batch, job.spec)

    def _stop_if_failing(self, job: Job) -> None:
        """Stop a job of which more than half of the last 50 batches failed (lessons: GitLab's rule)."""
        row = send(self._connection, "failing", job=job.id)[0]
        if row["touched"] >= 50 and row["failed"] * 2 > row["touched"]:
            ledger.set_job_state(self._connection, job.id, "stopped", row["error"])
            raise JobStoppedError(job.table, row["error"])

    def _proved(self, job: Job) -> bool:
        """Prove the job complete: no gap, nothing set aside, and a scan that finds no row without its tenant.

        Raises:
            CatalogError: the ledger has a gap.
            QuarantineError: rows are set aside.
        """
        if job.last_key is not None:
            gaps = send(self._connection, "gaps", job=job.id, stripes=job.spec.stripes, last_key=job.last_key)
            if gaps:
                gap = gaps[0]
                raise CatalogError(f"the ledger of {job.table}: {gap['gap']}, stripe {gap['stripe']}")
        if self._sweep(job):
            return False
        (aside,) = send(self._connection, "job_quarantined", job=job.id)
        if aside["count"]:
            fact = f"{aside['count']} row(s) of {job.table} in quarantine, {aside['key']}: {aside['message']}"
            raise QuarantineError(
                STAGE.name, [fact], "Mend the cause, then `tenantry retry` and `tenantry run`"
            )
        ledger.set_job_state(self._connection, job.id, "complete")
        # No batch is left to say so: a worker that was held and killed left its reason.
        ledger.set_held(self._connection, self.ground.migration, None)
        log.info("job complete", table=job.table)
        return True

    def _sweep(self, job: Job) -> bool:
        """Look for rows that still need their tenant; True if any became a new batch.

        They are rows whose key the application changed meanwhile. Rows whose tenant no source tells go into
        quarantine; the application may go on writing such rows, so they are no reason to look again.
        """
        job_sql = JobSQL(job.spec)
        self._connection.execute(job_sql.set_aside(), {"job": job.id})
        found = self._connection.execute(job_sql.stragglers(), {"job": job.id, "most": STRAGGLERS})
        again: list[Key] = [list(row[0]) for row in found]
        if again:
            log.info("stragglers found by the final scan", table=job.table, rows=len(again))
            with self._connection.transaction():
                ledger.add_batches(
                    self._connection, job.id, self._one_row_ranges(job, job_sql, again), "straggler"
                )
            self._ring(job, after=RING_LOST)
        return bool(again)

    def _one_row_ranges(self, job: Job, job_sql: JobSQL, keys: Sequence[Key]) -> Iterator[Range]:
        for key in keys:
            row = self._connection.execute(job_sql.key_before(), bound_parameters("upper", key)).fetchone()
            lower = list(row[0]) if row is not None else None
            for stripe in range(job.spec.stripes):
                yield Range(lower=lower, upper=key, stripe=stripe)


def slices(ids: Sequence[int], target: float) -> Iterator[tuple[int, int]]:
    """Cut batch ids into runs for one message each: about a second of work, and a share for every worker.

    A message costs about 2 ms of worker time, a batch locks rows for `target` seconds: so a message carries
    several batches (design, section 2), half a group's visit at most, for two workers to stay apart.
    """
    most = max(1, min(round(1.0 / target), paging.RANGES // 2, len(ids) // 4))
    for _, run in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        consecutive = [id_ for _, id_ in run]
        for start in range(0, len(consecutive), most):
            part = consecutive[start : start + most]
            yield part[0], part[-1]


STAGE = Backfill()
