"""Who the tenants are: rows in each table, whether the application may serve them, when they last wrote."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from psycopg import errors, sql
from pydantic import BaseModel, ConfigDict

from control.plan.model import Plan
from sql.errors import GateClosedError, GivenWrongError
from sql.postgres import catalog, tenants
from sql.postgres.connection import Connection
from sql.tenant_rows import TenantRows


class Standing(BaseModel):
    """A tenant; `last_activity` is the latest time that a row of it tells, None where none does.

    The tenant without a name is who rows belong to that have none yet.
    """

    model_config = ConfigDict(frozen=True)

    tenant: str | None
    rows: dict[str, int]
    enabled_since: datetime | None
    last_activity: datetime | None

    @property
    def total(self) -> int:
        """Its rows in all tables."""
        return sum(self.rows.values())


def standings(connection: Connection, plan: Plan) -> list[Standing]:
    """Read every tenant of the plan's tables, and every one that is enabled, the largest first.

    Raises:
        GateClosedError: the tables have no tenant column yet.
        GivenWrongError: row-level security hides rows from this role.
    """
    column, live = plan.tenant.column, catalog.read(connection, [table.name for table in plan.tables])
    tables = {table.name: live.table(table.name) for table in plan.tables}
    there(column, {name: found.column(column) is not None for name, found in tables.items()})
    rows = {name: _rows(connection, name, found.identifier, column) for name, found in tables.items()}
    return gathered(rows, tenants.enabled(connection))


def there(column: str, tables: Mapping[str, bool]) -> None:
    """See that every table has the tenant column.

    Raises:
        GateClosedError: one hasn't.
    """
    for name, has_column in tables.items():
        if not has_column:
            raise GateClosedError(
                "tenants", [f"{name} has no {column}"], "`tenantry run --to columns` adds it"
            )


def gathered(rows: Mapping[str, Iterable[TenantRows]], enabled: Mapping[str, datetime]) -> list[Standing]:
    """Put together what each table says of each tenant, and those that are enabled, the largest first."""
    counted: dict[str | None, dict[str, int]] = {}
    latest: dict[str | None, datetime] = {}
    for table, found in rows.items():
        for one in found:
            counted.setdefault(one.tenant, {})[table] = one.rows
            if one.last_activity is not None:
                latest[one.tenant] = max(one.last_activity, latest.get(one.tenant, one.last_activity))
    every = [
        Standing(
            tenant=tenant,
            rows=counted.get(tenant, {}),
            enabled_since=enabled.get(tenant) if tenant is not None else None,
            last_activity=latest.get(tenant),
        )
        for tenant in [*counted, *(name for name in enabled if name not in counted)]
    ]
    return sorted(every, key=lambda one: (-one.total, one.tenant or ""))


def _rows(connection: Connection, name: str, table: sql.Identifier, column: str) -> list[TenantRows]:
    try:
        return tenants.rows(connection, table, column)
    except errors.InsufficientPrivilege as error:
        raise GivenWrongError(
            f"{name}: {error.diag.message_primary}; ask as a role that may read all of it (BYPASSRLS)"
        ) from None
