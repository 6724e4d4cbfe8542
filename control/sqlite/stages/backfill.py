"""The backfill of a SQLite file: each table's rows get their tenant, in batches; parents come first.

Will do: freeze each table's last key, plan a little ahead, do one batch after the other with a gap between
them, and prove that nothing is left. Gate: none of its own; it follows the columns and their guard. Undoing:
the column goes, and with it the values; nothing is written back row by row.
"""

from dataclasses import dataclass

import structlog

from control.plan.sections import Table
from control.sqlite import crossing
from control.sqlite.filling import drive, late
from control.sqlite.jobs import is_instant, job_spec
from control.sqlite.stage import Ground, WithoutStatements
from sql.errors import JobStoppedError, QuarantineError
from sql.tenant_source import Constant
from worker import jobs
from worker.jobs import Job
from worker.sqlite import paging
from worker.sqlite.station import Station

log: structlog.stdlib.BoundLogger = structlog.get_logger()


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
        station = Station(ground.connection, ground.migration)
        with station.at_work():
            for table in ground.plan.in_order():
                job = _job_of(ground, table)
                if job.state != "complete":
                    with structlog.contextvars.bound_contextvars(table=job.part):
                        drive(ground, job.id, station)
        if facts := crossing.set_aside(ground):
            raise QuarantineError("backfill", facts, "Mend or delete them, then `tenantry run`")

    def amended(self, ground: Ground) -> bool:
        """Whether rows without a tenant have come since that could have one."""
        return bool(_with_late_rows(ground))

    def unwork(self, ground: Ground) -> None:
        """Forget the jobs: what they filled is going."""
        jobs.forget(ground.connection, ground.migration)


def _with_late_rows(ground: Ground) -> list[Job]:
    """The jobs that were proved complete and have rows again that could have their tenant."""
    return [
        job
        for job in jobs.of_migration(ground.connection, ground.migration)
        if job.state == "complete"
        and not isinstance(job.spec.source, Constant)
        and jobs.is_there(ground.connection, job.part)
        and late(ground.connection, job)
    ]


def _job_of(ground: Ground, table: Table) -> Job:
    """The job of a table, made now if it isn't there: this freezes its bound.

    Raises:
        JobStoppedError: it stopped itself before.
    """
    file, name = ground.connection, ground.original.table(table.name).name
    if not jobs.of_parts(file, ground.migration, [name]):
        _begin(ground, table)
    job = jobs.of_parts(file, ground.migration, [name])[name]
    if job.state == "stopped":
        raise JobStoppedError(job.part, job.reason or "")
    return job


def _begin(ground: Ground, table: Table) -> None:
    file, plan = ground.connection, ground.plan
    spec, why = job_spec(plan, table, ground.original.table(table.name), file)
    instant = is_instant(plan, table, ground.original)
    last = None if instant else paging.last_key(file, spec)
    jobs.add(
        file,
        ground.migration,
        table=table.name,
        part=spec.table,
        spec=spec,
        last_key=last,
        batch_rows=plan.backfill.first_batch,
        rows_total=paging.count_rows(file, spec),
        why="instant: the column's default answers for every row" if instant else why,
        state="complete" if instant else "running",
    )
    log.info("job begun", table=spec.table, why=why, last_key=last, instant=instant)


STAGE = Backfill()
