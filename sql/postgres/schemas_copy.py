"""Composes the batch that copies rows of a shared table into their tenants' tables."""

from psycopg import sql

from sql.errors import CatalogError
from sql.job import Copying, JobSpec, Shape
from sql.named import plain
from sql.postgres.batch import JobSQL
from sql.postgres.schemas import COPY


def copy(spec: JobSpec, shape: Shape, *, unlocked: bool) -> sql.Composed:
    """A batch that copies the rows of a range; parameters: batch, the range's."""
    job_sql, copying = JobSQL(spec), _copying(spec)
    statement = COPY.copy_unlocked if unlocked else COPY.copy
    return statement.compose(
        table=plain(sql.Identifier(spec.schema_, spec.table)),
        tenant=plain(sql.Identifier(spec.tenant_column)),
        function=plain(sql.Identifier(*copying.function)),
        range=job_sql.in_claimed(shape),
        unfilled=job_sql.unfinished,
    )


def _copying(spec: JobSpec) -> Copying:
    if spec.copying is None:
        raise CatalogError(f"the job of {spec.table} copies nothing")
    return spec.copying
