"""A governor of a test's own on a real database, and what it answers."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count

import psycopg
from psycopg_pool import ConnectionPool

from control.embedded.valkey import EmbeddedValkey
from sql.postgres.connection import Connection, Pool, parameters, session_options
from tests.waiting import until
from worker.broker import client
from worker.governor.limits import LABELS, Limit, Sample, SignalName
from worker.governor.pace import Governor, Hold, Taken
from worker.governor.shared import Shared
from worker.ledger import Settings

_namespaces = count(1)


def pool_of(url: str) -> Pool:
    """Connections as a worker has them."""
    options = session_options(lock_timeout_ms=100, statement_timeout_ms=800)
    return ConnectionPool(
        kwargs={"autocommit": True, **parameters(url, "worker test", options)},
        connection_class=Connection,
        min_size=1,
        max_size=3,
        open=True,
    )


def settings_of(
    signal: SignalName, stop: float, *, query: str | None = None, standbys: tuple[str, ...] = ()
) -> Settings:
    """Settings that hold by one signal alone."""
    return Settings(
        target=0.1,
        synchronous_commit="on",
        throttle=True,
        limits={signal: Limit(max=None, stop=stop)},
        query=query,
        standbys=standbys,
    )


@dataclass
class Watch:
    """A governor that has not seen anything yet, and a session of the application."""

    governor: Governor
    url: str
    shop: psycopg.Connection

    def reason(self, settings: Settings) -> str | None:
        """Why nothing goes now; None where a batch may go."""
        answer = self.governor.ask(settings)
        return answer.reason if isinstance(answer, Hold) else None

    def goes(self, settings: Settings, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Wait until batches may go."""
        until(lambda: (meanwhile(), self.reason(settings))[1] is None, "batches to go")

    def holds(
        self, signal: SignalName, settings: Settings, meanwhile: Callable[[], object] = lambda: None
    ) -> str:
        """Wait until batches are held by a signal, and say with what reason."""

        def reason() -> str:
            meanwhile()
            found = self.reason(settings) or ""
            return found if found.startswith(f"{LABELS[signal]}: ") else ""

        return until(reason, f"a hold by {signal}")

    def sample(self, settings: Settings) -> Sample:
        """What this governor finds from now on."""
        self.governor.taken = None

        def taken() -> Taken | None:
            self.reason(settings)
            return self.governor.taken

        found = until(taken, "a sample")
        assert found is not None
        return found.posted.sample


@contextmanager
def watching(url: str, valkey: EmbeddedValkey) -> Iterator[Watch]:
    """A governor of its own on a database."""
    with (
        pool_of(url) as pool,
        client(valkey.url) as queue,
        psycopg.connect(url, application_name="shop") as shop,
    ):
        yield Watch(Governor(Shared(queue, f"signals {next(_namespaces)}"), pool, "test"), url, shop)


def _ended(session: psycopg.Connection, thread: threading.Thread) -> bool:
    session.cancel_safe()
    thread.join(0.02)
    return not thread.is_alive()


@contextmanager
def at_work(url: str, *statements: str) -> Iterator[None]:
    """A session that works on its last statement until the end of the context."""
    with psycopg.connect(url, autocommit=True, application_name="work") as session:
        for statement in statements[:-1]:
            session.execute(statement.encode())

        def work() -> None:
            with suppress(psycopg.errors.QueryCanceled):
                session.execute(statements[-1].encode())

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            until(lambda: _ended(session, thread), "the session to end")
