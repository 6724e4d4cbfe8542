"""*Table*: one table, its rows, its batches and how long they take, its indexes."""

from control.exported import series
from grafana.frame import Rows
from grafana.panels import (
    BLUE,
    GREEN,
    GREY,
    NONE_IS_WELL,
    ORANGE,
    RED,
    Panel,
    at_all_times,
    figure,
    lines,
    more_in,
    now,
    times,
)
from grafana.queries import counted, exported, largest, quantile, rate, rows_per_second
from worker import metrics

QUESTION = "How does one table go: its rows, its batches and how long they take, its indexes?"

_TABLE = 'table="$table"'


def rows() -> Rows:
    """The rows of panels."""
    return (("Now", _now()), ("Rows", _filled()), ("Batches", _batches()), ("Indexes", _indexes()))


def _of(which: series.Series) -> str:
    return largest(exported(which, _TABLE))


def _now() -> list[Panel]:
    done, total = _of(series.TABLE_ROWS_UPDATED), _of(series.TABLE_ROWS)
    return [
        figure(
            "Done",
            "Share of the rows that have their tenant. The total is an estimate from when the backfill "
            "began.",
            now(f"{done} / {total}", "done"),
            unit="percentunit",
            width=3,
            decimals=1,
            otherwise="not begun",
        ),
        figure(
            "Rows to go",
            "Rows that still need their tenant.",
            now(_of(series.TABLE_ROWS_REMAINING), "rows"),
            unit="short",
            width=3,
        ),
        figure(
            "Done in",
            "Time to the end at the rate so far, without the time in which batches were held.",
            now(_of(series.TABLE_ETA), "ETA"),
            unit="s",
            width=3,
            decimals=1,
        ),
        figure(
            "Rows per second",
            "Rows that got their tenant, per second.",
            now(rows_per_second(_TABLE, by=""), "rows/s"),
            unit="rps",
            width=3,
            decimals=0,
        ),
        figure(
            "Batch size",
            "Rows that the next batches are cut to, so that each takes the plan's `target` of time.",
            now(_of(series.TABLE_BATCH_ROWS), "rows"),
            unit="short",
            width=3,
        ),
        figure(
            "Heap-only updates",
            "Share of the updates that stayed in their page and touched no index, the application's among "
            "them. Below a half the table grows faster than preflight foretold.",
            now(_of(series.TABLE_HEAP_ONLY), "share"),
            unit="percentunit",
            thresholds=((None, ORANGE), (0.5, GREEN)),
            width=3,
            decimals=0,
        ),
        more_in(
            figure(
                "Stopped itself",
                "1 where too many batches of this table failed: see what failed below, mend it, `tenantry "
                "retry`.",
                now(_of(series.JOB_STOPPED), "stopped"),
                unit="bool_yes_no",
                thresholds=((None, GREEN), (1, RED)),
                width=3,
            ),
            "TenantryJobStopped",
        ),
        more_in(
            figure(
                "Invalid indexes",
                "Indexes of the table that are not valid and that nobody builds: each costs every write "
                "and serves none.",
                now(_of(series.INVALID_INDEXES), "indexes"),
                unit="short",
                thresholds=NONE_IS_WELL,
                width=3,
            ),
            "TenantryInvalidIndex",
        ),
    ]


def _filled() -> list[Panel]:
    return [
        lines(
            "Rows",
            "Rows that have their tenant and rows that need it, one upon the other: the sum is the table.",
            at_all_times(_of(series.TABLE_ROWS_UPDATED), "done"),
            at_all_times(_of(series.TABLE_ROWS_REMAINING), "to go"),
            unit="short",
            colours={"done": GREEN, "to go": GREY},
            stacked=True,
        ),
        lines(
            "Rows per second",
            "By the ledger, and by what the workers that are scraped have counted; a `run` that started "
            "its own workers without a port is in the first alone.",
            at_all_times(rows_per_second(_TABLE, by=""), "by the ledger"),
            at_all_times(rate(counted(metrics.ROWS, _TABLE)), "by the workers"),
            unit="rps",
            colours={"by the ledger": BLUE, "by the workers": GREY},
        ),
        lines(
            "Time to the end",
            "At the rate so far. It should fall by a second each second; where it rises, the pace falls.",
            at_all_times(_of(series.TABLE_ETA), "ETA"),
            unit="s",
            width=8,
            colours={"ETA": BLUE},
        ),
        lines(
            "Writes that the guard gave their tenant",
            "Rows that code which does not know its tenant wrote meanwhile.",
            at_all_times(rate(exported(series.GUARD_USES, _TABLE)), "writes"),
            unit="wps",
            width=8,
            colours={"writes": BLUE},
        ),
        lines(
            "Heap-only updates",
            "Share of the updates since the backfill began that stayed in their page.",
            at_all_times(_of(series.TABLE_HEAP_ONLY), "share"),
            unit="percentunit",
            width=8,
            colours={"share": BLUE},
            top=1,
        ),
    ]


def _batches() -> list[Panel]:
    duration, wait = counted(metrics.DURATION, _TABLE), counted(metrics.WAIT, _TABLE)
    return [
        times(
            "Time of a batch",
            "How long batches took in the server, which is how long a row of one can be locked. Dark is "
            "often. It should lie about the plan's `target`, 50 ms unless you said otherwise.",
            rate(duration, "le"),
        ),
        times(
            "Wait of a batch",
            "How long batches waited from when they were planned, or due again, until they began.",
            rate(wait, "le"),
        ),
        lines(
            "Time of a batch, quantiles",
            "Of all batches within the interval, half took less than the first, 95 of 100 less than the "
            "second.",
            at_all_times(quantile(0.5, duration), "median"),
            at_all_times(quantile(0.95, duration), "95 %"),
            unit="s",
            width=8,
            colours={"median": BLUE, "95 %": ORANGE},
        ),
        lines(
            "Batch size",
            "Rows that the next batches are cut to. It follows the time that they take.",
            at_all_times(_of(series.TABLE_BATCH_ROWS), "rows"),
            unit="short",
            width=8,
            colours={"rows": BLUE},
        ),
        lines(
            "Batches by state",
            "`split` ones failed and were cut in two; of `quarantined` ones rows were set aside.",
            at_all_times(largest(exported(series.BATCHES, _TABLE), "state"), "{{state}}"),
            unit="short",
            width=8,
            colours={"done": GREEN, "pending": GREY, "split": BLUE, "quarantined": ORANGE},
            stacked=True,
        ),
        more_in(
            lines(
                "Batches that failed",
                "By the class of their SQLSTATE: 40 deadlocks, 55 locks that others held, 57 timeouts, 22 "
                "and 23 the data's own faults.",
                at_all_times(rate(counted(metrics.FAILURES, _TABLE), "sqlstate_class"), "{{sqlstate_class}}"),
                unit="ops",
                width=8,
            ),
            "TenantryFailing",
        ),
        lines(
            "Attempts that go again",
            "Failures after which a batch is tried once more, by the class of their SQLSTATE.",
            at_all_times(rate(counted(metrics.RETRIES, _TABLE), "sqlstate_class"), "{{sqlstate_class}}"),
            unit="ops",
            width=8,
        ),
        lines(
            "Batches that wait to be tried again",
            "Each waits longer from try to try; `tenantry retry` puts them back at once.",
            at_all_times(_of(series.BATCHES_WAITING), "batches"),
            unit="short",
            width=8,
            colours={"batches": ORANGE},
        ),
    ]


def _indexes() -> list[Panel]:
    return [
        lines(
            "Indexes being built",
            "How far each is; several phases go from nothing to all of it.",
            at_all_times(largest(exported(series.INDEX_BUILD_RATIO, _TABLE), "index"), "{{index}}"),
            unit="percentunit",
            width=8,
            top=1,
        ),
        lines(
            "Time until an index is built",
            "Where the server tells how much is left.",
            at_all_times(largest(exported(series.INDEX_BUILD_ETA, _TABLE), "index"), "{{index}}"),
            unit="s",
            width=8,
        ),
        lines(
            "Builds that wait for a session",
            "1 while CREATE INDEX CONCURRENTLY waits for an old transaction to end: `tenantry status` says "
            "whose.",
            at_all_times(largest(exported(series.INDEX_BUILD_WAITING, _TABLE), "index"), "{{index}}"),
            unit="short",
            width=8,
            top=1,
        ),
    ]
