"""Which tenants the application may treat as migrated, in whichever database it asks."""

from collections.abc import Sequence
from datetime import datetime

from sql.database import Database
from sql.postgres import tenants as postgres
from sql.sqlite import tenants as sqlite
from sql.sqlite.connection import File


def enable(connection: Database, tenants: Sequence[str], actor: str) -> list[str]:
    """Let the application treat tenants as migrated; those that it could not before."""
    if isinstance(connection, File):
        return sqlite.enable(connection, tenants, actor)
    return postgres.enable(connection, tenants, actor)


def disable(connection: Database, tenants: Sequence[str]) -> list[str]:
    """Let the application treat tenants as migrated no more; those that it could before."""
    if isinstance(connection, File):
        return sqlite.disable(connection, tenants)
    return postgres.disable(connection, tenants)


def enabled(connection: Database) -> dict[str, datetime]:
    """The tenants that the application may treat as migrated, and since when."""
    return sqlite.enabled(connection) if isinstance(connection, File) else postgres.enabled(connection)
