"""The partial way back: columns and indexes stay, and every row has the sentinel again.

Policies are off and the old keys are back by then. The guard goes first, for it would give new rows a tenant;
then the default, then the rows, by the batched engine. A column that was there before the migration gets its
default back and keeps its values: which of them were there before, nobody knows any more.
"""

from collections.abc import Iterator

import structlog

from control import guard
from control.jobs import heap_of, job_spec, parts
from control.plan.sections import Table
from control.stage import Ground, Step
from control.stages.backfill import RESET, drive
from control.steps import take
from sql.postgres import catalog
from worker import jobs, paging

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def keep_columns(ground: Ground) -> None:
    """Put the sentinel back, in the default and in every row; begun again, it goes on.

    Raises:
        TenantryError: a step or a job failed.
    """
    take(_steps(ground), ground, "backfill")
    ground.memory.remember(RESET, {"begun": True})
    jobs.forget_kind(ground.connection, ground.migration, "fill")
    # Children first: nothing reads a parent's tenant any more, but that order is the way back everywhere.
    for table in reversed(ground.plan.in_order()):
        if ground.original.table(table.name).column(ground.plan.tenant.column) is None:
            _reset(ground, table)
    jobs.forget(ground.connection, ground.migration)


def _steps(ground: Ground) -> Iterator[Step]:
    plan, original = ground.plan, ground.original
    yield from guard.drop(plan, original)
    for table in plan.tables:
        was = original.table(table.name)
        column = was.column(plan.tenant.column)
        if column is None:
            yield guard.default_of_sentinel(plan, table, was)
        else:
            yield from guard.original_default(plan, table, was, column)


def _reset(ground: Ground, table: Table) -> None:
    connection, plan = ground.connection, ground.plan
    now = parts(catalog.read(connection, [table.name]).table(table.name))
    for part in now:
        heap = heap_of(connection, part)
        found, why = job_spec(plan, table, part, heap)
        spec = found.model_copy(update={"reset": True})
        jobs.add(
            connection,
            ground.migration,
            table=table.name,
            part=part.identifier.as_string(),
            spec=spec,
            last_key=paging.last_key(connection, spec, heap.pages),
            batch_rows=paging.first_size(plan.backfill.first_batch, heap.rows, spec),
            rows_total=heap.rows,
            why=why,
        )
    names = [part.identifier.as_string() for part in now]
    for job in jobs.of_parts(connection, ground.migration, names).values():
        if job.state != "complete":
            with structlog.contextvars.bound_contextvars(table=job.part):
                log.info("the sentinel comes back")
                drive(ground, job.id)
