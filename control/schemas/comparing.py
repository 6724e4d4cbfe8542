"""Compares the shared tables with the tenants': rows and checksum of each tenant and table, in one snapshot.

So that writes that go on don't matter. Each tenant's tables are read in a transaction of their own, by the
snapshot that the first one lends: together they would take more locks than a server has.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from psycopg import sql

from control.plan.model import Plan
from control.schemas.mirroring import written
from sql.postgres import catalog
from sql.postgres.connection import Connection, connect
from sql.postgres.schemas import COPY, Pattern, Schema

Sums = dict[str | None, tuple[int, Decimal]]


def differences(
    plan: Plan, connection: Connection, patterns: Sequence[tuple[str, Pattern]], schemas: Sequence[Schema]
) -> Iterator[str]:
    """What differs: tenant, table and counts of each."""
    column = plan.tenant.column
    live = catalog.read(connection, [named for named, _ in patterns])
    with connect(plan.database.url.get_secret_value(), "compare") as lender, lender.transaction():
        lender.execute(COPY.begin.compose())
        (snapshot,) = lender.execute(COPY.snapshot.compose()).fetchone() or ("",)
        shared = {
            named: _sums(lender, live.table(named).identifier, pattern, column) for named, pattern in patterns
        }
        known = {schema.tenant for schema in schemas}
        for named, sums in shared.items():
            for tenant in sorted(set(sums) - known, key=str):
                yield f"{named}: {sums[tenant][0]:,} rows of {tenant!r}, which has no schema"
        for schema in schemas:
            with connection.transaction():
                connection.execute(COPY.begin.compose())
                connection.execute(COPY.take_snapshot.compose(snapshot=sql.Literal(snapshot)))
                for named, pattern in patterns:
                    rows, check = shared[named].get(schema.tenant, (0, Decimal(0)))
                    copied, copied_check = _sum(connection, schema, pattern, column)
                    if (rows, check) != (copied, copied_check):
                        kind = "rows" if rows != copied else "rows on both sides, and they differ"
                        yield f"{named} of {schema.tenant!r}: {rows:,} shared and {copied:,} copied {kind}"


def _columns(pattern: Pattern, column: str) -> sql.Composable:
    names = [name for name in written(pattern, column) if name != column]
    return sql.SQL(", ").join([sql.SQL("t.{}").format(sql.Identifier(name)) for name in names])


def _sums(connection: Connection, table: sql.Identifier, pattern: Pattern, column: str) -> Sums:
    statement = COPY.sums.compose(
        table=table, tenant=sql.Identifier(column), columns=_columns(pattern, column)
    )
    return {tenant: (rows, check) for tenant, rows, check in connection.execute(statement)}


def _sum(connection: Connection, schema: Schema, pattern: Pattern, column: str) -> tuple[int, Decimal]:
    statement = COPY.sum.compose(
        table=sql.Identifier(schema.name, pattern.name), columns=_columns(pattern, column)
    )
    rows, check = connection.execute(statement).fetchone() or (0, Decimal(0))
    return rows, check
