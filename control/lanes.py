"""Several tables at once: the steps of each in order, one on the controller's session, others on their own.

The server lets CREATE INDEX CONCURRENTLY run on several tables at a time, and since PostgreSQL 14 they don't
wait for each other's snapshots unless one has an expression or a predicate. A table has one builder at a
time: two would wait for each other's lock, SHARE UPDATE EXCLUSIVE.

One lane's failure ends the others before their next statement, and lets come to its end what is under way: an
index that is nearly built is worth waiting for. Ctrl-C cancels it.
"""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import replace
from queue import SimpleQueue
from threading import Event

import psycopg

from control.stage import Ground
from sql.errors import UnreachableError
from sql.postgres.connection import Connection, connect
from sql.postgres.session import join_migration

#: What a lane does on its own ground; it asks the second before each statement, which may raise.
Lane = Callable[[Ground, Callable[[], None]], None]

#: How long the server is asked to cancel a statement before it is left to itself; seconds.
_CANCEL_WITHIN = 5.0


class _OverError(Exception):
    """Another lane failed, or the operator interrupted: this one takes no further statement."""


def side_by_side(lanes: Sequence[Lane], ground: Ground, at_once: int) -> None:
    """Run the lanes, `at_once` at a time, in their order; return when the last has ended.

    Raises:
        TenantryError: what the first lane that failed raised, once no other has a statement under way.
    """
    over = Event()

    def go_on() -> None:
        if over.is_set():
            raise _OverError

    with ExitStack() as stack:
        free: SimpleQueue[Connection] = SimpleQueue()
        sessions = [ground.connection, *_further(stack, ground, min(at_once, len(lanes)) - 1)]
        for session in sessions:
            free.put(session)

        def drive(lane: Lane) -> None:
            session = free.get()
            try:
                go_on()
                lane(replace(ground, connection=session), go_on)
            finally:
                free.put(session)

        with ThreadPoolExecutor(len(sessions), thread_name_prefix="tenantry lane") as threads:
            running = [threads.submit(contextvars.copy_context().run, drive, lane) for lane in lanes]
            try:
                _until_all_ended(running, over)
            except BaseException:
                over.set()
                for session in sessions:
                    with suppress(psycopg.Error):
                        session.cancel_safe(timeout=_CANCEL_WITHIN)
                raise


def _until_all_ended(running: Sequence["Future[None]"], over: Event) -> None:
    left = set(running)
    failed: BaseException | None = None
    while left:
        ended, left = wait(left, return_when=FIRST_COMPLETED)
        for one in ended:
            error = one.exception()
            if error is not None and not isinstance(error, _OverError):
                failed = failed or error
                over.set()
    if failed is not None:
        raise failed


def _further(stack: ExitStack, ground: Ground, number: int) -> Iterator[Connection]:
    """Sessions beside the controller's, as many as the server has to spare."""
    for _ in range(number):
        try:
            session = stack.enter_context(connect(ground.plan.database.url.get_secret_value(), "controller"))
        except UnreachableError as error:
            ground.notify(f"no further session for building side by side: {error.reason}")
            return
        join_migration(session, ground.plan.name)
        yield session
