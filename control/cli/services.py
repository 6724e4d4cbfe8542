"""`worker`, `exporter`: processes of their own beside a `run`, for a service manager to keep up."""

from typing import Annotated

import typer

from control.cli.options import DEFAULT_FILE, File, Workers
from control.plan.reading import read_plan
from control.queue import namespace_of
from control.worker_pool import workers as worker_processes
from sql.errors import GivenWrongError
from sql.postgres.connection import resolve

Port = Annotated[int, typer.Option(min=1, max=65535, help="Where Prometheus finds the metrics.")]


def worker(
    file: File = DEFAULT_FILE,
    *,
    workers: Workers = 1,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Where Prometheus finds the counters.")
    ] = None,
) -> None:
    """Work at the batches of a `run` that goes on elsewhere, until told to stop."""
    plan = read_plan(file)
    if plan.redis is None:
        raise GivenWrongError(f"{file}: workers of their own need the queue's address: [redis] url")
    url = resolve(plan.database.url.get_secret_value())
    with worker_processes(
        workers,
        database_url=url,
        redis_url=resolve(plan.redis.url.get_secret_value()),
        namespace=namespace_of(plan),
        metrics_port=metrics_port,
    ) as pool:
        try:
            pool.wait()
        except KeyboardInterrupt:
            # To be stopped is how a service ends: no failure.
            return
