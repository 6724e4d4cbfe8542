"""`worker`, `exporter`: processes of their own beside a `run`, for a service manager to keep up."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Annotated

import psycopg
import typer

from control import exporter as exporting
from control.cli.options import DEFAULT_FILE, File
from control.plan.reading import read_plan
from control.queue import namespace_of, queue_of
from control.resizing import resized
from control.worker_pool import LOOPBACK
from control.worker_pool import workers as worker_processes
from sql.database import connect, describe
from sql.errors import FileBusyError, GivenWrongError, UnreachableError
from sql.postgres.connection import resolve
from worker import version

#: A service starts while its database is busy, too.
_LOOK_MS = 5_000
_HOST = "TENANTRY_METRICS_HOST"
_HOST_HELP = "The address to listen on; 0.0.0.0 for every one that this machine has."


def worker(
    file: File = DEFAULT_FILE,
    *,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes, until they are tuned.")] = 1,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, envvar="TENANTRY_METRICS_PORT", help="Where Prometheus finds what they count."
        ),
    ] = None,
    metrics_host: Annotated[str, typer.Option(envvar=_HOST, help=_HOST_HELP)] = LOOPBACK,
) -> None:
    """Work at the batches of a `run` that goes on elsewhere, until told to stop."""
    plan = read_plan(file)
    if plan.on_file:
        raise GivenWrongError("a SQLite file has one writer at a time, `tenantry run` itself: no workers")
    if plan.redis is None:
        raise GivenWrongError(f"{file}: workers of their own need the queue's address, [redis] url")
    url = resolve(plan.database.url.get_secret_value())
    describe(url)
    _understood(url)
    with (
        queue_of(plan) as queue,
        _until_told_to_stop(metrics_host, metrics_port),
        worker_processes(
            workers,
            database_url=url,
            redis_url=queue,
            namespace=namespace_of(plan),
            metrics_port=metrics_port,
            metrics_host=metrics_host,
        ) as pool,
        resized(pool, url, plan.name, otherwise=workers),
    ):
        pool.wait()


def exporter(
    file: File = DEFAULT_FILE,
    *,
    port: Annotated[
        int,
        typer.Option(
            min=1, max=65535, envvar="TENANTRY_METRICS_PORT", help="Where Prometheus finds the gauges."
        ),
    ] = 9187,
    host: Annotated[str, typer.Option(envvar=_HOST, help=_HOST_HELP)] = LOOPBACK,
) -> None:
    """Show Prometheus how the migration stands, until told to stop."""
    plan = read_plan(file)
    url = resolve(plan.database.url.get_secret_value())
    describe(url)
    _understood(url)
    with _until_told_to_stop(host, port):
        exporting.serve(url, plan.name, port, host)


def _understood(url: str) -> None:
    """Refuse a ledger that a later program has upgraded; one that isn't there yet, or is older, will be.

    Raises:
        LedgerVersionError: it is of a later version.
    """
    with (
        suppress(UnreachableError, FileBusyError, psycopg.Error, sqlite3.Error),
        closing(connect(url, "look", statement_timeout_ms=_LOOK_MS)) as connection,
    ):
        version.not_newer(connection)


@contextmanager
def _until_told_to_stop(host: str, port: int | None) -> Iterator[None]:
    """Being stopped is how a service ends: no failure.

    Raises:
        GivenWrongError: the port is taken, or the host is none of this machine's.
    """
    try:
        yield
    except KeyboardInterrupt:
        return
    except OSError as error:
        raise GivenWrongError(f"{host}, port {port}: {error.strerror}") from None
