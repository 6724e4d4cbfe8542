"""Gauges that come from the database, in one process: what Grafana shows of a migration.

Everything is read when Prometheus asks, so there is nothing to go stale: a server out of reach is
`tenantry_up 0` and no other sample. Counters and histograms are the workers' own (`control.worker_pool`).
"""

import os
import socket
import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from control import status
from control.endpoints import answering
from control.exported import beside, families, series
from control.exported.families import Families
from sql.database import Database, connect
from sql.errors import GivenWrongError, NoMigrationError, TenantryError
from sql.postgres import exported
from sql.postgres.failure import ended
from sql.sqlite.connection import File

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: For one statement, in milliseconds.
_STATEMENT_TIMEOUT_MS = 5_000
#: Seconds after which a scrape is answered without the database: Prometheus gives up after 10 by default.
_ANSWER_WITHIN = 8.0

_Answer = tuple[Families, str | None]


# eq=False: a registry keeps its collectors by their hash.
@dataclass(slots=True, eq=False)
class StatusCollector(Collector):
    """Reads the status at every scrape, on a connection of its own.

    Scrapes that come while one is being read are answered with it: however many ask, and however long the
    database takes, one connection asks it one thing at a time. A server that stops answering without a word
    would keep that one for a quarter of an hour: it is cut off.
    """

    url: str
    migration: str
    _connection: Database | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)
    _at_hand: Future[_Answer] | None = None
    _told: str | None = None
    """What came in place of the database's answer last, as the log has it."""

    def collect(self) -> Iterable[Metric]:
        """Answer one scrape."""
        return self._read()[0].every()

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: a registry would else read the database to learn the names."""
        return ()

    def unready(self) -> str | None:
        """Why there is nothing to show; a migration that hasn't begun is no reason."""
        return self._read()[1]

    def _read(self) -> _Answer:
        """What there is to show; and what came in place of the database's answer."""
        with self._reading:
            if self._at_hand is None or self._at_hand.done():
                self._at_hand = Future()
                threading.Thread(target=self._answer, args=(self._at_hand,), daemon=True).start()
            at_hand = self._at_hand
        try:
            return at_hand.result(_ANSWER_WITHIN)
        except TimeoutError:
            self._cut_off()
            return self._without(f"the database has not answered within {_ANSWER_WITHIN:g} s")

    def _answer(self, at_hand: Future[_Answer]) -> None:
        try:
            at_hand.set_result(self._ask())
        except BaseException as error:  # noqa: BLE001  # it is who waits that is to hear of it
            at_hand.set_exception(error)

    def _ask(self) -> _Answer:
        kept = self._is_open
        try:
            try:
                return self._asked()
            except psycopg.OperationalError:
                # The server has closed what was kept: a restart, a failover, a limit for idle sessions.
                if not kept or self._is_open:
                    raise
                return self._asked()
        except psycopg.Error as error:
            said = ended("scrape", error)
            return self._without(f"{said.reason}; {said.way_out}")
        except (TenantryError, sqlite3.Error) as error:
            return self._without(str(error).strip())

    @property
    def _is_open(self) -> bool:
        return self._connection is not None and not self._connection.closed

    def _asked(self) -> _Answer:
        connection = self._connection
        if connection is None or connection.closed:
            connection = connect(self.url, "exporter", statement_timeout_ms=_STATEMENT_TIMEOUT_MS)
            self._connection = connection
        if not isinstance(connection, File) and exported.is_standby(connection):
            # Sessions, locks and counts are each server's own.
            raise GivenWrongError("it is a standby: give the exporter the primary's address")
        try:
            found = status.read(connection, self.migration)
            shown = families.of(found, beside.read(connection, self.migration))
        except NoMigrationError:
            shown = Families()
            shown.add(series.UP, 1)
        finally:
            if isinstance(connection, File):
                connection.close()  # another may be put in its place, as a backup is
        if self._told is not None:
            self._told = None
            log.info("the database answers")
        return shown, None

    def _without(self, why: str) -> _Answer:
        """Nothing but that there is no answer, and why; logged once, not at each scrape."""
        if why != self._told:
            self._told = why
            log.warning("no answer for this scrape", error=why)
        without = Families()
        without.add(series.UP, 0)
        return without, why

    def _cut_off(self) -> None:
        """End the connection under whoever waits on it; the server ends its statement by the timeout."""
        connection = self._connection
        if connection is not None and not isinstance(connection, File):
            # A socket of our own to the same connection: libpq's is closed by the thread that uses it.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
                ours.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()


def serve(url: str, migration: str, port: int, host: str) -> None:
    """Answer scrapes on `port` of `host` until interrupted.

    Raises:
        KeyboardInterrupt: told to stop.
        OSError: the port is taken.
    """
    registry = CollectorRegistry()
    collector = StatusCollector(url, migration)
    registry.register(collector)
    try:
        with answering(host, port, registry, collector.unready):
            log.info("exporter answers", port=port)
            threading.Event().wait()
    finally:
        collector.close()
