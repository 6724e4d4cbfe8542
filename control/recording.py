"""How a stage ended that didn't come to its end, kept in the ledger before the operator hears of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from control.announcing import announce, gate_closed
from control.cancelling import cancellable
from control.stage import Standing
from sql.database import Database
from sql.errors import GateClosedError, TenantryError
from sql.postgres.connection import connect
from sql.postgres.failure import ended
from sql.postgres.session import take_migration
from sql.sqlite.failure import refused
from worker import ledger


@contextmanager
def recorded(ground: Standing, stage: str, *, way: str = "") -> Iterator[None]:
    """Keep as waiting or failed what the body raises; `way` is said before it, where it isn't the way there.

    `tenantry cancel` cuts short what the body has the server do.

    Raises:
        TenantryError: what the body raised.
        ServerError: the same for what the server itself ended.
    """
    try:
        with cancellable(ground, stage):
            yield
    except TenantryError as error:
        _keep(ground, stage, error, way)
        raise
    except psycopg.Error as error:
        failure = ended(stage, error)
        _keep(ground, stage, failure, way)
        raise failure from error
    except sqlite3.Error as error:
        failure = refused(stage, error)
        _keep(ground, stage, failure, way)
        raise failure from error


def _keep(ground: Standing, stage: str, error: TenantryError, way: str) -> None:
    """Keep it by the run's connection; where that is lost by another, unless there is a new run by then."""
    if not ground.connection.broken:
        _write(ground.connection, ground, stage, error, way)
        return
    url = ground.plan.database.url.get_secret_value()
    with suppress(TenantryError, psycopg.Error), connect(url, "controller") as connection:
        if take_migration(connection, ground.plan.name) is None:
            _write(connection, ground, stage, error, way)


def _write(connection: Database, ground: Standing, stage: str, error: TenantryError, way: str) -> None:
    with connection.transaction():
        if isinstance(error, GateClosedError):
            told = f"{way}{'; '.join(error.facts)}. {error.opens}"
            ledger.set_stage(connection, ground.migration, stage, "waiting", told)
            gate_closed(ground, connection, stage, error, way=way)
        else:
            told = f"{way}{error}"
            ledger.set_stage(connection, ground.migration, stage, "failed", told)
            announce(ground, "failed", f"{stage}: {told}", stage=stage, connection=connection)
