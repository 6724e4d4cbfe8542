"""Which tenants the application may treat as migrated: on record where the application can read it."""

from collections.abc import Sequence

from control.course import actor
from control.plan.model import Plan
from control.sqlite.tenants import proper
from sql import tenants
from sql.database import Database
from sql.errors import GivenWrongError
from sql.postgres import preflight
from sql.sqlite.connection import File
from worker import audit, ledger


def enable(connection: Database, plan: Plan, names: Sequence[str]) -> str:
    """Enable tenants; says which of them were not before.

    Raises:
        NoMigrationError: there is no such migration.
        GivenWrongError: one is no tenant.
    """
    migration = ledger.read(connection, plan.name)
    if broken := _breaking(connection, plan, names):
        raise GivenWrongError(f"{', '.join(map(repr, broken))}: the plan's pattern is {plan.tenant.pattern}")
    with connection.transaction():
        told = _told(tenants.enable(connection, names, actor()), "enabled")
        audit.record(connection, migration.id, actor(), "tenants", told)
    return told


def _breaking(connection: Database, plan: Plan, names: Sequence[str]) -> list[str]:
    if isinstance(connection, File):
        return [name for name in names if not proper(plan.tenant.pattern, name)]
    return preflight.breaking(connection, list(names), plan.tenant.pattern)


def disable(connection: Database, plan: Plan, names: Sequence[str]) -> str:
    """Disable tenants; says which of them were enabled before.

    Raises:
        NoMigrationError: there is no such migration.
    """
    migration = ledger.read(connection, plan.name)
    with connection.transaction():
        told = _told(tenants.disable(connection, names), "disabled")
        audit.record(connection, migration.id, actor(), "tenants", told)
    return told


def _told(changed: Sequence[str], how: str) -> str:
    return f"{how}: {', '.join(sorted(changed))}" if changed else f"all of them were {how} before"
