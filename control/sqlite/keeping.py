"""The partial way back in a SQLite file: columns and indexes stay, and every row is without a tenant again.

The old keys are back by then. The guard goes first, for it would give new rows a tenant; then the rows, by
batches. A column that was there before the migration keeps its values: which of them were there before,
nobody knows any more. So does one whose tenant is a constant: it is the column's default, which SQLite has no
statement to change.
"""

import structlog

from control.plan.sections import Table
from control.sqlite import guard
from control.sqlite.filling import drive
from control.sqlite.jobs import is_instant, job_spec
from control.sqlite.stage import Ground
from control.sqlite.steps import take
from worker import jobs
from worker.sqlite import paging
from worker.sqlite.station import Station

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def keep_columns(ground: Ground) -> None:
    """Put the sentinel back, in every row; begun again, it goes on.

    Raises:
        TenantryError: a step or a job failed.
    """
    plan, original = ground.plan, ground.original
    take(guard.drop(plan, original), ground, "backfill")
    jobs.forget_kind(ground.connection, ground.migration, "fill")
    station = Station(ground.connection, ground.migration)
    with station.at_work():
        # Children first: nothing reads a parent's tenant any more, but that order is the way back everywhere.
        for table in reversed(plan.in_order()):
            if is_instant(plan, table, original):
                ground.notify(f"{table.name}: {plan.tenant.column} keeps its default, {table.constant!r}")
            elif original.table(table.name).column(plan.tenant.column) is None:
                _reset(ground, table, station)
    jobs.forget(ground.connection, ground.migration)


def _reset(ground: Ground, table: Table, station: Station) -> None:
    file, plan = ground.connection, ground.plan
    found, why = job_spec(plan, table, ground.original.table(table.name), file)
    spec = found.model_copy(update={"reset": True})
    jobs.add(
        file,
        ground.migration,
        table=table.name,
        part=spec.table,
        spec=spec,
        last_key=paging.last_key(file, spec),
        batch_rows=plan.backfill.first_batch,
        rows_total=paging.count_rows(file, spec),
        why=why,
    )
    for job in jobs.of_parts(file, ground.migration, [spec.table]).values():
        if job.state != "complete":
            with structlog.contextvars.bound_contextvars(table=job.part):
                log.info("the sentinel comes back")
                drive(ground, job.id, station)
