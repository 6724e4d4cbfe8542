"""Every series that the exporter shows: its name, what it means, its labels; `docs/metrics.md` lists them.

Names are by Prometheus's conventions: base units, a unit as the last word, `_total` for what only grows. The
workers' own series are in `worker.metrics`. Dashboards and alerts take their names from both.
"""

from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

_MIGRATION = ("migration",)
_TABLE = ("migration", "table")
_STAGE = ("migration", "stage")
_SIGNAL = ("migration", "signal")
_INDEX = ("migration", "table", "index")


@dataclass(frozen=True, slots=True)
class Series:
    """A series: `name` as Prometheus knows it, `documentation` for its HELP line, `labels` in order."""

    name: str
    documentation: str
    labels: tuple[str, ...] = _MIGRATION
    kind: Literal["gauge", "counter"] = "gauge"

    def family(self) -> GaugeMetricFamily | CounterMetricFamily:
        """Make what a scrape is answered with, still without samples."""
        family = GaugeMetricFamily if self.kind == "gauge" else CounterMetricFamily
        return family(self.name, self.documentation, labels=self.labels)


UP = Series("tenantry_up", "1 while the database answers, 0 while it does not.", ())

MIGRATION_STATE = Series(
    "tenantry_migration_state", "1 for the state that the migration is in.", ("migration", "state")
)
MIGRATION_STARTED = Series(
    "tenantry_migration_started_timestamp_seconds", "When the migration began, as a Unix time."
)
STAGE_STATE = Series(
    "tenantry_stage_state", "1 for the state that each stage is in.", ("migration", "stage", "state")
)
STAGE_STARTED = Series(
    "tenantry_stage_started_timestamp_seconds", "When a stage began, as a Unix time.", _STAGE
)
STAGE_FINISHED = Series(
    "tenantry_stage_finished_timestamp_seconds", "When a stage was done, as a Unix time.", _STAGE
)
GATE_CLOSED = Series(
    "tenantry_gate_closed",
    "1 while a stage may not begin or go on, with the facts that keep its gate closed.",
    ("migration", "stage", "reason"),
)
GATE_CLOSED_SINCE = Series(
    "tenantry_gate_closed_since_timestamp_seconds",
    "Since when a stage's gate has been closed, as a Unix time.",
    _STAGE,
)

TABLE_ROWS = Series("tenantry_table_rows", "Rows of the table when its backfill began.", _TABLE)
TABLE_ROWS_UPDATED = Series(
    "tenantry_table_rows_updated", "Rows that the backfill has given their tenant.", _TABLE
)
TABLE_ROWS_REMAINING = Series("tenantry_table_rows_remaining", "Rows that still need their tenant.", _TABLE)
TABLE_ETA = Series(
    "tenantry_table_eta_seconds", "Time to the end of a table's backfill at the rate so far.", _TABLE
)
TABLE_BATCH_ROWS = Series("tenantry_table_batch_rows", "Rows that the next batches are cut to.", _TABLE)
TABLE_HEAP_ONLY = Series(
    "tenantry_table_heap_only_ratio",
    "Share of the updates since the backfill began that stayed in their page, the application's among them.",
    _TABLE,
)
BATCHES = Series("tenantry_batches", "Batches by their state.", ("migration", "table", "state"))
BATCHES_WAITING = Series(
    "tenantry_batches_waiting", "Pending batches that failed, and wait until they are tried again.", _TABLE
)
JOB_STOPPED = Series(
    "tenantry_job_stopped",
    "1 where a table's backfill stopped itself: too many of its batches failed.",
    _TABLE,
)
OLDEST_PENDING_BATCH_AGE = Series(
    "tenantry_oldest_pending_batch_age_seconds",
    "Age of the oldest batch that is still to be done; 0 where none is.",
)
LAST_PROGRESS = Series(
    "tenantry_last_progress_timestamp_seconds", "When a batch was last done, as a Unix time."
)
QUARANTINE_ROWS = Series("tenantry_quarantine_rows", "Rows set aside.")

CONTROLLERS = Series(
    "tenantry_controllers", "Commands that have the migration in hand: 1 during a run or a way back, else 0."
)
WORKERS = Series("tenantry_workers", "Workers with a connection to the database.")
WORKERS_HOLDING = Series("tenantry_workers_holding", "Living workers that let no batch go.")
HELD = Series("tenantry_held", "1 while a worker is held, by what holds it.", ("migration", "reason"))

REPLICA_LAG_SECONDS = Series(
    "tenantry_replica_lag_seconds",
    "Age of the oldest WAL that the slowest standby has not replayed, while somebody samples.",
)
REPLICA_LAG_BYTES = Series(
    "tenantry_replica_lag_bytes",
    "WAL that the slowest standby has not replayed, while somebody samples.",
)
GOVERNOR_SHARE = Series("tenantry_governor_share", "Share of full speed that is allowed, 0 to 1.")
GOVERNOR_SAMPLE_AGE = Series("tenantry_governor_sample_age_seconds", "Age of the last sample of signals.")
GOVERNOR_ZONE = Series(
    "tenantry_governor_zone", "1 for the zone that the governor is in.", ("migration", "zone")
)
GOVERNOR_SIGNAL = Series("tenantry_governor_signal", "What each signal reads, in its base unit.", _SIGNAL)
GOVERNOR_LIMIT = Series("tenantry_governor_limit", "Where a signal halves the pace.", _SIGNAL)
GOVERNOR_STOP = Series("tenantry_governor_stop", "Where a signal lets no batch go.", _SIGNAL)
GOVERNOR_UNREADABLE = Series(
    "tenantry_governor_unreadable", "1 for a signal that has a limit and can't be read, else 0.", _SIGNAL
)

INDEX_BUILD_RATIO = Series(
    "tenantry_index_build_ratio", "How far an index is that is being built, 0 to 1.", _INDEX
)
INDEX_BUILD_ETA = Series(
    "tenantry_index_build_eta_seconds", "Time until an index is built, where it can be told.", _INDEX
)
INDEX_BUILD_WAITING = Series(
    "tenantry_index_build_waiting", "1 while the building of an index waits for a session.", _INDEX
)
INVALID_INDEXES = Series(
    "tenantry_invalid_indexes", "Invalid indexes of a table that nobody is building.", _TABLE
)

UNSCOPED_ACCESSES = Series(
    "tenantry_unscoped_accesses_total",
    "Accesses without a tenant to tables under row-level security, while they are counted.",
    ("migration", "role"),
    "counter",
)
RLS_STRICT = Series(
    "tenantry_rls_strict",
    "1 while sessions without a tenant see no row of some table of the database, else 0.",
)
GUARD_USES = Series(
    "tenantry_guard_uses_total", "Writes that the guard gave their tenant.", _TABLE, "counter"
)
LOCK_WAIT = Series(
    "tenantry_lock_wait_seconds",
    "Longest wait for a lock now: of a session of the application behind ours, or of ours.",
    ("migration", "side"),
)
WAL_WRITTEN = Series(
    "tenantry_wal_written_bytes", "WAL that the server has written since the migration began."
)
WAL_BUDGET = Series("tenantry_wal_budget_bytes", "WAL that preflight foretold.")
DISK_GROWN = Series(
    "tenantry_disk_grown_bytes", "By how much the database has grown since the migration began."
)
DISK_BUDGET = Series("tenantry_disk_budget_bytes", "Growth of the database that preflight foretold.")

NOTIFICATIONS = Series(
    "tenantry_notifications",
    "Messages that the webhook has not got: due, refused by it, or given up after a day.",
    ("migration", "delivery"),
)
EVENT = Series(
    "tenantry_event_timestamp_seconds",
    "When an event of each kind was last written into the audit, as a Unix time.",
    ("migration", "kind"),
)

#: All of them, in the order of `docs/metrics.md`.
EVERY = tuple(value for value in globals().values() if isinstance(value, Series))
