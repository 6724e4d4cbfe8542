"""Gauges that come from the database, in one process: what Grafana shows of a migration.

Everything is read when Prometheus asks, so there is nothing to go stale: a server out of reach is
`tenantry_up 0` and no other series. Counters and histograms are the workers' own (`control.worker_pool`).
"""

import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg
import structlog
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from control import status
from control.governed import GovernorStatus
from control.status import Status
from sql.database import Database, connect
from sql.errors import FileBusyError, NoMigrationError, UnreachableError
from worker.governor.zones import Zone

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
        with self._reading:
            found, up = self._read()
        yield _gauge("tenantry_up", "Whether the database answers.", float(up))
        if found is not None:
            yield from metrics(found)

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: a registry would else read the database to learn the names."""
        return ()

    def _read(self) -> tuple[Status | None, bool]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connect(self.url, "exporter", statement_timeout_ms=_STATEMENT_TIMEOUT_MS)
            return status.read(self._connection, self.migration), True
        except NoMigrationError:
            return None, True
        except (UnreachableError, FileBusyError, psycopg.Error, sqlite3.Error) as error:
            log.warning("no answer for this scrape", error=str(error).strip())
            return None, False

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()


def _gauge(
    name: str, documentation: str, value: float | None = None, labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value, labels=labels or None)


def metrics(found: Status) -> Iterable[Metric]:
    """The series of one migration."""
    who = found.migration
    state = _gauge(
        "tenantry_migration_state", "1 for the state that the migration is in.", labels=("migration", "state")
    )
    state.add_metric([who, found.state], 1)
    yield state

    stage = _gauge(
        "tenantry_stage_state",
        "1 for the state that each stage is in.",
        labels=("migration", "stage", "state"),
    )
    for each in found.stages:
        stage.add_metric([who, each.name, each.state], 1)
    yield stage

    yield from _tables(found)

    yield from _building(found)

    held = _gauge(
        "tenantry_held",
        "1 while a worker is held, by the signal that does.",
        labels=("migration", "reason"),
    )
    if found.held is not None:
        held.add_metric([who, found.held.partition(":")[0]], 1)
    yield held

    if found.governor is not None:
        yield from _governor(who, found.governor)

    plain = (
        ("tenantry_quarantine_rows", "Rows set aside.", found.quarantine),
        ("tenantry_workers", "Workers with a connection to the database.", found.workers_alive),
        (
            "tenantry_oldest_pending_batch_age_seconds",
            "Age of the oldest batch that is still to be done; 0 where none is.",
            found.oldest_pending_seconds or 0,
        ),
        (
            "tenantry_replica_lag_seconds",
            "Age of the oldest WAL that the slowest standby has not replayed, while somebody samples.",
            found.replica_lag_seconds,
        ),
        (
            "tenantry_replica_lag_bytes",
            "WAL that the slowest standby has not replayed, while somebody samples.",
            found.replica_lag_bytes,
        ),
        (
            "tenantry_last_progress_timestamp_seconds",
            "When a batch was last done, as a Unix time.",
            found.last_progress_at.timestamp() if found.last_progress_at else None,
        ),
    )
    for name, documentation, value in plain:
        gauge = _gauge(name, documentation, labels=("migration",))
        if value is not None:
            gauge.add_metric([who], value)
        yield gauge


def _governor(who: str, found: GovernorStatus) -> Iterable[Metric]:
    """The pace and every signal in base units: seconds, bytes, counts, shares of 1."""
    share = _gauge("tenantry_governor_share", "Share of full speed that is allowed.", labels=("migration",))
    share.add_metric([who], found.share)
    age = _gauge(
        "tenantry_governor_sample_age_seconds", "Age of the last sample of signals.", labels=("migration",)
    )
    age.add_metric([who], found.sample_age_seconds)
    zone = _gauge(
        "tenantry_governor_zone", "1 for the zone that the governor is in.", labels=("migration", "zone")
    )
    for each in Zone:
        zone.add_metric([who, each.value], each is found.zone)
    labels = ("migration", "signal")
    value = _gauge("tenantry_governor_signal", "What each signal reads, in its base unit.", labels=labels)
    limit = _gauge("tenantry_governor_limit", "Where a signal halves the pace.", labels=labels)
    stop = _gauge("tenantry_governor_stop", "Where a signal lets no batch go.", labels=labels)
    unreadable = _gauge(
        "tenantry_governor_unreadable", "1 for a signal with a limit that can't be read.", labels=labels
    )
    for signal in found.signals:
        for gauge, reads in ((value, signal.value), (limit, signal.limit), (stop, signal.stop)):
            if reads is not None:
                gauge.add_metric([who, signal.signal], reads)
    for signal in found.unreadable:
        unreadable.add_metric([who, signal.signal], 1)
    yield from (share, age, zone, value, limit, stop, unreadable)


def _tables(found: Status) -> Iterable[Metric]:
    labels = ("migration", "table")
    total = _gauge("tenantry_table_rows", "Rows of the table when its backfill began.", labels=labels)
    done = _gauge(
        "tenantry_table_rows_updated", "Rows that the backfill has given their tenant.", labels=labels
    )
    remaining = _gauge("tenantry_table_rows_remaining", "Rows that still need their tenant.", labels=labels)
    eta = _gauge("tenantry_table_eta_seconds", "Time to the end at the rate so far.", labels=labels)
    size = _gauge("tenantry_table_batch_rows", "Rows that the next batches are cut to.", labels=labels)
    heap_only = _gauge(
        "tenantry_table_heap_only_ratio",
        "Share of updates since the start that stayed in their page.",
        labels=labels,
    )
    batches = _gauge("tenantry_batches", "Batches by their state.", labels=(*labels, "state"))
    for table in found.tables:
        who = [found.migration, table.name]
        values = (
            (total, table.rows_total),
            (done, table.rows_done),
            (remaining, table.rows_remaining),
            (eta, table.eta_seconds),
            (size, table.batch_rows),
            (heap_only, table.heap_only_share),
        )
        for gauge, value in values:
            if value is not None:
                gauge.add_metric(who, value)
        for state, count in table.batches.items():
            batches.add_metric([*who, state], count)
    yield from (total, done, remaining, eta, size, heap_only, batches)


def _building(found: Status) -> Iterable[Metric]:
    labels = ("migration", "table", "index")
    share = _gauge(
        "tenantry_index_build_ratio", "How far an index is that is being built, 0 to 1.", labels=labels
    )
    eta = _gauge(
        "tenantry_index_build_eta_seconds",
        "Time until an index is built, where it can be told.",
        labels=labels,
    )
    waiting = _gauge(
        "tenantry_index_build_waiting", "1 while the building of an index waits for a session.", labels=labels
    )
    for one in found.building:
        which = [found.migration, one.table, one.index or ""]
        share.add_metric(which, one.share)
        waiting.add_metric(which, one.waits_for is not None)
        if one.eta_seconds is not None:
            eta.add_metric(which, one.eta_seconds)
    yield from (share, eta, waiting)


def serve(url: str, migration: str, port: int, host: str) -> None:
    """Answer scrapes on `port` of `host` until interrupted.

    Raises:
        KeyboardInterrupt: told to stop.
    """
    registry = CollectorRegistry()
    collector = StatusCollector(url, migration)
    registry.register(collector)
    server, thread = start_http_server(port, addr=host, registry=registry)
    log.info("exporter answers", port=port)
    try:
        thread.join()
    finally:
        server.shutdown()
        server.server_close()
        collector.close()
