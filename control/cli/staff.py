"""Workers and their queue for as long as a command needs them, and where their logs go meanwhile."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console

from control.plan.model import Plan
from control.queue import namespace_of, queue_of
from control.resizing import resized
from control.worker_pool import workers as worker_processes
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection, resolve
from worker import ledger, logs
from worker.broker import Doorbell, doorbell

#: Worker processes that a run starts by itself: two fill a table three times as fast as one UPDATE (design,
#: section 4), and leave a server of few cores to the application.
WORKERS = 2


@contextmanager
def staffed(
    plan: Plan, connection: Connection, workers: int | None, log_to: IO[bytes] | None
) -> Iterator[Doorbell]:
    """A queue, and workers where they are ours to start, for as long as the context lasts."""
    # With a Redis of the operator's, workers are services elsewhere: tuning them starts none here.
    own_pool = workers is not None or plan.redis is None
    count = workers if workers is not None else WORKERS if own_pool else 0
    url, namespace = resolve(plan.database.url.get_secret_value()), namespace_of(plan)
    tuned = ledger.workers(connection, plan.name) if own_pool else None
    with ExitStack() as house:
        queue = house.enter_context(queue_of(plan))
        pool = house.enter_context(
            worker_processes(
                count if tuned is None else tuned,
                database_url=url,
                redis_url=queue,
                namespace=namespace,
                log_to=log_to,
            )
        )
        if own_pool:
            house.enter_context(resized(pool, url, plan.name, otherwise=count))
        yield doorbell(queue, namespace)


@contextmanager
def log_beside(shown: Console, file: Path) -> Iterator[IO[bytes] | None]:
    """Keep logs out of a live display: beside the plan where there is one, else on standard error."""
    if not (shown.is_terminal and sys.stderr.isatty()):
        yield None
        return
    path = file.with_suffix(".log")
    try:
        opened = path.open("ab")
    except OSError as error:
        raise GivenWrongError(f"the log {path} can't be written: {error.strerror}") from None
    with opened, path.open("a", encoding="utf-8") as ours:
        logs.configure(stream=ours)
        try:
            yield opened
        finally:
            logs.configure()
    shown.print(f"log: {path}", style="dim")
