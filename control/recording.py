"""How a stage ended that didn't come to its end, kept in the ledger before the operator hears of it."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg

from control.cancelling import cancellable
from control.course import actor
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
    except GateClosedError as closed:
        _keep(ground, stage, "waiting", f"{way}{'; '.join(closed.facts)}. {closed.opens}")
        raise
    except TenantryError as error:
        _keep(ground, stage, "failed", f"{way}{error}")
        raise
    except psycopg.Error as error:
        failure = ended(stage, error)
        _keep(ground, stage, "failed", f"{way}{failure}")
        raise failure from error
    except sqlite3.Error as error:
        failure = refused(stage, error)
        _keep(ground, stage, "failed", f"{way}{failure}")
        raise failure from error


def _keep(ground: Standing, stage: str, state: ledger.StageState, told: str) -> None:
    """Keep it by the run's connection; where that is lost by another, unless there is a new run by then."""
    if not ground.connection.broken:
        _write(ground.connection, ground, stage, state, told)
        return
    url = ground.plan.database.url.get_secret_value()
    with suppress(TenantryError, psycopg.Error), connect(url, "controller") as connection:
        if take_migration(connection, ground.plan.name) is None:
            _write(connection, ground, stage, state, told)


def _write(connection: Database, ground: Standing, stage: str, state: ledger.StageState, told: str) -> None:
    ledger.set_stage(connection, ground.migration, stage, state, told)
    if state == "failed":
        ledger.record(connection, ground.migration, actor(), "failed", f"{stage}: {told}")
