"""Gauges that come from the database, in one process: what Grafana shows of a migration.

Everything is read when Prometheus asks, so there is nothing to go stale: a server out of reach is
`tenantry_up 0` and no other sample. Counters and histograms are the workers' own (`control.worker_pool`).
"""

import sqlite3
import threading
from collections.abc import Iterable
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
from sql.errors import FileBusyError, LedgerVersionError, NoMigrationError, UnreachableError

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: A scrape must answer before Prometheus gives up (10 s by default), in milliseconds.
_STATEMENT_TIMEOUT_MS = 5_000


# eq=False: a registry keeps its collectors by their hash.
@dataclass(slots=True, eq=False)
class StatusCollector(Collector):
    """Reads the status at every scrape, on a connection of its own."""

    url: str
    migration: str
    _connection: Database | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> Iterable[Metric]:
        """Answer one scrape."""
        found, _ = self._read()
        return found.every()

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: a registry would else read the database to learn the names."""
        return ()

    def unready(self) -> str | None:
        """Why there is nothing to show; a migration that hasn't begun is no reason."""
        return self._read()[1]

    def _read(self) -> tuple[Families, str | None]:
        """What there is to show; and what came in place of the database's answer."""
        without = Families()
        with self._reading:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = connect(
                        self.url, "exporter", statement_timeout_ms=_STATEMENT_TIMEOUT_MS
                    )
                found = status.read(self._connection, self.migration)
                return families.of(found, beside.read(self._connection, self.migration)), None
            except NoMigrationError:
                without.add(series.UP, 1)
                return without, None
            except (
                LedgerVersionError,
                UnreachableError,
                FileBusyError,
                psycopg.Error,
                sqlite3.Error,
            ) as error:
                why = str(error).strip()
        log.warning("no answer for this scrape", error=why)
        without.add(series.UP, 0)
        return without, why

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
