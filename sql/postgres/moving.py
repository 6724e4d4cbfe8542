"""Composes the batches that copy rows to another tenant, and remove them where they were."""

from collections.abc import Sequence
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from sql.errors import CatalogError
from sql.job import JobSpec, Moving, Shape
from sql.named import load, plain
from sql.postgres import chosen
from sql.postgres.batch import JobSQL
from sql.postgres.connection import literal

STATEMENTS = load(Path(__file__).parent, "moving")


def copy(spec: JobSpec, shape: Shape) -> sql.Composed:
    """A batch that copies the rows of a range; parameters: batch, the range's."""
    moving, job_sql = _moving(spec), JobSQL(spec)
    own = [*(column.name for column in spec.own_key), *moving.fixed, *moving.columns]
    change = STATEMENTS.copy.compose(
        table=_table(spec),
        tenant=_tenant(spec),
        value=plain(literal(moving.to)),
        columns=_list("", own),
        values=_list("t.", own),
        range=job_sql.in_claimed(shape),
        unfilled=job_sql.unfinished,
        returned=_key(spec),
    )
    return _batch(change, chosen.noting(spec, moving, "changed"))


def hold(spec: JobSpec, shape: Shape) -> sql.Composed:
    """Hold the rows of a range that may be removed; their places, as text. Parameters: the range's."""
    job_sql = JobSQL(spec)
    return STATEMENTS.hold.compose(
        table=_table(spec), range=job_sql.in_range(shape), unfilled=job_sql.unfinished
    )


def remove(spec: JobSpec) -> sql.Composed:
    """A batch that removes rows that are held; parameters: batch, held."""
    moving = _moving(spec)
    change = STATEMENTS.remove.compose(
        table=_table(spec),
        unfilled=JobSQL(spec).unfinished,
        renewed=_renewed(spec, moving),
        returned=_key(spec),
    )
    return _batch(change, chosen.settling(spec, moving, "changed"))


def withdraw(spec: JobSpec, shape: Shape) -> sql.Composed:
    """A batch that takes copies back; parameters: batch, the range's."""
    job_sql = JobSQL(spec)
    change = STATEMENTS.withdraw.compose(
        table=_table(spec),
        range=job_sql.in_claimed(shape),
        unfilled=job_sql.unfinished,
        returned=_key(spec),
    )
    return _batch(change, chosen.settling(spec, _moving(spec), "changed"))


def _batch(change: sql.Composed, notes: sql.Composable) -> sql.Composed:
    return STATEMENTS.batch.compose(told=chosen.ASSIGNING, change=change, notes=notes)


def _renewed(spec: JobSpec, moving: Moving) -> sql.Composable:
    if not moving.columns:
        return sql.SQL("")
    same = sql.SQL(" AND ").join(
        sql.SQL("c.{name} = t.{name}").format(name=sql.Identifier(column.name)) for column in spec.own_key
    )
    return STATEMENTS.renew.compose(
        table=_table(spec),
        tenant=_tenant(spec),
        value=plain(literal(moving.to)),
        same=plain(same),
        columns=_list("", moving.columns),
        values=_list("t.", moving.columns),
        copied=_list("c.", moving.columns),
    )


def _moving(spec: JobSpec) -> Moving:
    if spec.moving is None:
        raise CatalogError(f"the job of {spec.table} moves nothing")
    return spec.moving


def _table(spec: JobSpec) -> sql.Composable:
    return plain(sql.Identifier(spec.schema_, spec.table))


def _tenant(spec: JobSpec) -> sql.Composable:
    return plain(sql.Identifier(spec.tenant_column))


def _key(spec: JobSpec) -> sql.Composable:
    return plain(chosen.own_key("t", spec.own_key))


def _list(prefix: LiteralString, names: Sequence[str]) -> sql.Composable:
    each = (sql.SQL("{}{}").format(sql.SQL(prefix), sql.Identifier(name)) for name in names)
    return plain(sql.SQL(", ").join(each))
