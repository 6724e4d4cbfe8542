"""Fills the tenants' tables from the shared ones, in the batches of the backfill's engine.

A batch takes locks on the tables of every tenant that has a row in its range: of a thousand tenants those of
7,000 tables and indexes, where a server has room for 6,400. So a table is gone through once for every few.
"""

from collections.abc import Sequence

import structlog

from control.jobs import heap_of, job_spec
from control.schemas.mirroring import function_name
from control.stage import Ground
from control.stages.backfill import drive
from sql.job import Copying
from sql.postgres import catalog, schemas
from worker import jobs, paging

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Tenants whose rows are copied in one go through a table.
TOGETHER = 32


def fill(ground: Ground, named: str) -> None:
    """Copy what is not copied yet of a table.

    Raises:
        QuarantineError: rows were set aside.
        JobStoppedError: more than half of the last batches failed.
    """
    unfilled = schemas.unfilled(ground.connection, named)
    for start in range(0, len(unfilled), TOGETHER):
        tenants = unfilled[start : start + TOGETHER]
        _copy(ground, named, tenants)
        schemas.note_filled(ground.connection, named, tenants)


def _copy(ground: Ground, named: str, tenants: Sequence[str]) -> None:
    """Drive the job of some tenants; the one that a killed controller left is theirs, or is begun anew."""
    connection, migration = ground.connection, ground.migration
    left = [job for job in jobs.of_kind(connection, migration, "copy") if job.table == named]
    if not left or left[0].spec.copying is None or left[0].spec.copying.tenants != tuple(tenants):
        jobs.forget_kind(connection, migration, "copy")
        _begin(ground, named, tenants)
        left = jobs.of_kind(connection, migration, "copy")
    for job in left:
        with structlog.contextvars.bound_contextvars(table=job.part):
            log.info("rows are copied", tenants=len(tenants), first=tenants[0])
            if job.state != "complete":
                drive(ground, job.id)
    jobs.forget_kind(connection, migration, "copy")


def _begin(ground: Ground, named: str, tenants: Sequence[str]) -> None:
    connection, plan = ground.connection, ground.plan
    part = catalog.read(connection, [named]).table(named)
    heap = heap_of(connection, part)
    found, _ = job_spec(plan, plan.table(named), part, heap)
    spec = found.model_copy(
        update={
            "copying": Copying(function=function_name("copy", named), tenants=tuple(tenants)),
            # Each row once: nothing is written to its page but a lock.
            "paging": "contiguous",
            "stripes": 1,
            "most_rows": paging.LARGEST,
            "hold_triggers": False,
        }
    )
    jobs.add(
        connection,
        ground.migration,
        table=named,
        part=part.identifier.as_string(),
        spec=spec,
        last_key=paging.last_key(connection, spec, heap.pages),
        batch_rows=paging.first_size(plan.backfill.first_batch, heap.rows, spec),
        rows_total=heap.rows,
        why=f"rows of {len(tenants)} tenants are copied into their schemas",
    )
