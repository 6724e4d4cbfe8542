"""A status and the facts beside it, as the families of series that a scrape is answered with."""

from collections.abc import Iterable
from datetime import datetime

from prometheus_client.core import Metric

from control.exported import series
from control.exported.beside import Beside
from control.exported.series import Series
from control.governed import GovernorStatus
from control.status import Status
from worker.governor.zones import Zone
from worker.logs import mask

#: Of the facts that keep a gate closed so many characters are a label's value.
_CHARACTERS = 120


class Families:
    """Every family of `series.EVERY`, empty at first: a family without samples tells that it exists."""

    def __init__(self) -> None:
        self._by_series = {each: each.family() for each in series.EVERY}

    def add(self, of: Series, value: float | datetime | None, *labels: str) -> None:
        """Add a sample; a time becomes Unix seconds, and nothing comes of None."""
        if value is not None:
            number = value.timestamp() if isinstance(value, datetime) else float(value)
            self._by_series[of].add_metric(labels, number)

    def every(self) -> Iterable[Metric]:
        """The families in their order."""
        return self._by_series.values()


def of(found: Status, beside: Beside) -> Families:
    """The series of one migration, all in base units."""
    families = Families()
    families.add(series.UP, 1)
    _migration(families, found)
    _tables(families, found)
    _building(families, found)
    if found.governor is not None:
        _governor(families, found.migration, found.governor)
    _beside(families, found.migration, beside)
    return families


def _migration(families: Families, found: Status) -> None:
    who = found.migration
    families.add(series.MIGRATION_STATE, 1, who, found.state)
    families.add(series.MIGRATION_STARTED, found.started_at, who)
    for stage in found.stages:
        families.add(series.STAGE_STATE, 1, who, stage.name, stage.state)
        families.add(series.STAGE_STARTED, stage.started_at, who, stage.name)
        families.add(series.STAGE_FINISHED, stage.finished_at, who, stage.name)
        if stage.state == "waiting":
            families.add(series.GATE_CLOSED, 1, who, stage.name, _reason(stage.detail))
            families.add(series.GATE_CLOSED_SINCE, stage.closed_since, who, stage.name)
    if found.held is not None:
        families.add(series.HELD, 1, who, found.held.partition(":")[0])
    plain = (
        (series.QUARANTINE_ROWS, found.quarantine),
        (series.WORKERS, found.workers_alive),
        (series.WORKERS_HOLDING, found.workers_holding),
        (series.OLDEST_PENDING_BATCH_AGE, found.oldest_pending_seconds or 0),
        (series.REPLICA_LAG_SECONDS, found.replica_lag_seconds),
        (series.REPLICA_LAG_BYTES, found.replica_lag_bytes),
        (series.LAST_PROGRESS, found.last_progress_at),
    )
    for each, value in plain:
        families.add(each, value, who)
    lacking = found.notifications
    for delivery, count in (
        ("due", lacking.due),
        ("refused", lacking.refused),
        ("given up", lacking.given_up),
    ):
        families.add(series.NOTIFICATIONS, count, who, delivery)


def _reason(detail: str | None) -> str:
    """The facts behind a closed gate, without the way out."""
    return mask(detail or "").partition(". ")[0][:_CHARACTERS]


def _tables(families: Families, found: Status) -> None:
    waiting = {table.name: 0 for table in found.tables}
    for one in found.waiting:
        waiting[one.table] = waiting.get(one.table, 0) + one.batches
    for table in found.tables:
        who = (found.migration, table.name)
        values = (
            (series.TABLE_ROWS, table.rows_total),
            (series.TABLE_ROWS_UPDATED, table.rows_done),
            (series.TABLE_ROWS_REMAINING, table.rows_remaining),
            (series.TABLE_ETA, table.eta_seconds),
            (series.TABLE_BATCH_ROWS, table.batch_rows),
            (series.TABLE_HEAP_ONLY, table.heap_only_share),
            (series.BATCHES_WAITING, waiting[table.name]),
            (series.JOB_STOPPED, table.state == "stopped"),
        )
        for each, value in values:
            families.add(each, value, *who)
        for state, count in table.batches.items():
            families.add(series.BATCHES, count, *who, state)


def _building(families: Families, found: Status) -> None:
    for one in found.building:
        which = (found.migration, one.table, one.index or "")
        families.add(series.INDEX_BUILD_RATIO, one.share, *which)
        families.add(series.INDEX_BUILD_ETA, one.eta_seconds, *which)
        families.add(series.INDEX_BUILD_WAITING, one.waits_for is not None, *which)


def _governor(families: Families, who: str, found: GovernorStatus) -> None:
    families.add(series.GOVERNOR_SHARE, found.share, who)
    families.add(series.GOVERNOR_SAMPLE_AGE, found.sample_age_seconds, who)
    for zone in Zone:
        families.add(series.GOVERNOR_ZONE, zone is found.zone, who, zone.value)
    for signal in found.signals:
        families.add(series.GOVERNOR_SIGNAL, signal.value, who, signal.signal)
        families.add(series.GOVERNOR_LIMIT, signal.limit, who, signal.signal)
        families.add(series.GOVERNOR_STOP, signal.stop, who, signal.signal)
        limited = signal.limit is not None or signal.stop is not None
        if limited:
            families.add(series.GOVERNOR_UNREADABLE, signal.unreadable is not None, who, signal.signal)


def _beside(families: Families, who: str, beside: Beside) -> None:
    for kind, at in beside.events.items():
        families.add(series.EVENT, at, who, kind)
    for table, count in beside.guard_uses.items():
        families.add(series.GUARD_USES, count, who, table)
    for role, count in beside.unscoped.items():
        families.add(series.UNSCOPED_ACCESSES, count, who, role)
    families.add(series.CONTROLLERS, beside.controllers, who)
    families.add(series.RLS_STRICT, beside.strict, who)
    for table, count in beside.invalid_indexes.items():
        families.add(series.INVALID_INDEXES, count, who, table)
    for side, waited in beside.lock_waits.items():
        families.add(series.LOCK_WAIT, waited, who, side)
    if beside.spent is not None:
        families.add(series.WAL_WRITTEN, beside.spent.wal, who)
        families.add(series.WAL_BUDGET, beside.spent.wal_budget, who)
        families.add(series.DISK_GROWN, beside.spent.disk, who)
        families.add(series.DISK_BUDGET, beside.spent.disk_budget, who)
