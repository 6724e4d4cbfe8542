"""Reads who the tenants are, and keeps which of them the application may treat as migrated."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sql.named import load
from sql.sqlite.connection import File, shown
from sql.sqlite.facts import Table
from sql.sqlite.names import folded, quoted
from sql.tenant_rows import ACTIVITY, TenantRows

STATEMENTS = load(Path(__file__).parent, "tenants")


def rows(file: File, table: Table, column: str) -> list[TenantRows]:
    """Count a table by tenant. Reads all of it."""
    there = {folded(one.name): one.name for one in table.columns}
    activity = next((there[name] for name in ACTIVITY if name in there), None)
    statement = STATEMENTS.rows.filled(
        table=quoted(table.name),
        column=quoted(column),
        activity="NULL" if activity is None else f"max({quoted(activity)})",
    )
    return [
        TenantRows(_named(row["tenant"]), row["rows"], _time(row["last_activity"]))
        for row in file.rows(statement)
    ]


def _named(tenant: Any) -> Any:
    return shown(tenant) if isinstance(tenant, str) else tenant


def _time(value: Any) -> datetime | None:
    """A time as texts or numbers tell it, Unix times; None where it is neither."""
    try:
        told = (
            datetime.fromtimestamp(value, UTC)
            if isinstance(value, int | float)
            else datetime.fromisoformat(value)
        )
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return told if told.tzinfo is not None else told.replace(tzinfo=UTC)


def enable(file: File, tenants: Sequence[str], actor: str) -> list[str]:
    """Let the application treat tenants as migrated; those that it could not before."""
    with file.transaction():
        file.execute(STATEMENTS.create.filled())
        given = {"tenants": json.dumps(list(tenants)), "actor": actor, "now": time.time()}
        return [row["tenant"] for row in file.rows(STATEMENTS.enable.filled(), given)]


def disable(file: File, tenants: Sequence[str]) -> list[str]:
    """Let the application treat tenants as migrated no more; those that it could before."""
    if not _is_there(file):
        return []
    found = file.rows(STATEMENTS.disable.filled(), {"tenants": json.dumps(list(tenants))})
    return [row["tenant"] for row in found]


def enabled(file: File) -> dict[str, datetime]:
    """The tenants that the application may treat as migrated, and since when."""
    if not _is_there(file):
        return {}
    found = file.rows(STATEMENTS.enabled.filled())
    return {row["tenant"]: datetime.fromtimestamp(row["since"], UTC) for row in found}


def _is_there(file: File) -> bool:
    return bool(file.value(STATEMENTS.is_there.filled()))
