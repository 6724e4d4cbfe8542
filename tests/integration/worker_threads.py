"""Workers in threads of the test's own process: dramatiq, the station and the governor as a worker has them.

A worker process takes a second of a processor to start and up to one to stop. Tests of what becomes of rows
need none; those of what becomes of workers, which are killed, resized and found by their pid, do.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

import dramatiq
from psycopg_pool import ConnectionPool

from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, parameters, session_options
from worker.broker import client, doorbell
from worker.governor.pace import Governor
from worker.governor.shared import Shared
from worker.message import ACTOR, QUEUE
from worker.slice import Station

#: Milliseconds after which an idle thread of dramatiq's looks whether it was told to stop.
_LOOK_UP_EVERY = 50


@contextmanager
def station(url: str, queue: str, name: str, namespace: str) -> Iterator[Station]:
    """A worker's station, by the addresses of its database and its queue server."""
    options = session_options(lock_timeout_ms=100, statement_timeout_ms=800)
    with (
        ConnectionPool(
            kwargs={"autocommit": True, **parameters(url, f"worker {name}", options)},
            connection_class=Connection,
            configure=never_in_the_way,
            check=ConnectionPool.check_connection,
            min_size=1,
            max_size=3,
            open=True,
        ) as pool,
        client(queue) as shared,
    ):
        yield Station(pool, Governor(Shared(shared, namespace), pool, name), threading.Event())


@contextmanager
def worker_threads(count: int, *, url: str, queue: str, namespace: str) -> Iterator[None]:
    """Run `count` workers for as long as the context lasts."""
    with ExitStack() as stack:
        stations = [
            stack.enter_context(station(url, queue, f"thread {number}", namespace)) for number in range(count)
        ]
        free: SimpleQueue[Station] = SimpleQueue()
        for one in stations:
            free.put(one)

        def work(first: int, last: int) -> None:
            one = free.get()
            try:
                one.work(first, last)
            finally:
                free.put(one)

        broker = doorbell(queue, namespace)
        stack.callback(broker.client.close)
        dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)(work)
        threads = dramatiq.Worker(broker, worker_timeout=_LOOK_UP_EVERY, worker_threads=count)
        threads.start()
        try:
            yield
        finally:
            for one in stations:
                one.stopping.set()
            threads.stop()
