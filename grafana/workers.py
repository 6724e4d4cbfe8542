"""*Workers*: how many there are, what they do, what fails."""

from control.exported import series
from grafana.frame import Rows
from grafana.panels import (
    BLUE,
    GREEN,
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
from grafana.queries import counted, exported, largest, quantile, rate
from worker import metrics

QUESTION = "How many workers are there, what do they do, and what fails?"

_ALIVE = ((None, RED), (1, GREEN))


def rows() -> Rows:
    """The rows of panels."""
    return (("Now", _now()), ("Work", _work()), ("Time", _time()), ("Failures", _failures()))


def _now() -> list[Panel]:
    return [
        more_in(
            figure(
                "Workers",
                "Workers with a connection to the database, scraped or not. None while no stage has batches.",
                now(largest(exported(series.WORKERS)), "workers"),
                unit="short",
                thresholds=_ALIVE,
                width=3,
            ),
            "TenantryNoWorker",
        ),
        more_in(
            figure(
                "A run is at work",
                "Whether a command has the migration in hand. Between two runs none has.",
                now(largest(exported(series.CONTROLLERS)), "at work"),
                unit="bool_yes_no",
                width=3,
            ),
            "TenantryNoController",
        ),
        figure(
            "Workers that hold",
            "Living workers that let no batch go: *Governor* says why.",
            now(largest(exported(series.WORKERS_HOLDING)), "workers"),
            unit="short",
            thresholds=NONE_IS_WELL,
            width=3,
        ),
        figure(
            "Rows per second",
            "By what the workers that are scraped have counted.",
            now(rate(counted(metrics.ROWS)), "rows/s"),
            unit="rps",
            decimals=0,
        ),
        figure(
            "Batches per second",
            "Whatever became of them.",
            now(rate(counted(metrics.BATCHES)), "batches/s"),
            unit="ops",
            decimals=1,
        ),
        figure(
            "Failures per second",
            "Batches that failed; most are tried again.",
            now(f"{rate(counted(metrics.FAILURES))} or vector(0)", "failures/s"),
            unit="ops",
            thresholds=((None, GREEN), (0.001, ORANGE)),
            decimals=2,
            width=3,
        ),
        figure(
            "Oldest batch to be done",
            "Age of the oldest batch that is planned and not done; zero where none is.",
            now(largest(exported(series.OLDEST_PENDING_BATCH_AGE)), "age"),
            unit="s",
            decimals=0,
        ),
    ]


def _work() -> list[Panel]:
    return [
        lines(
            "Workers over time",
            "Workers with a connection to the database, and those of them that hold.",
            at_all_times(largest(exported(series.WORKERS)), "alive"),
            at_all_times(largest(exported(series.WORKERS_HOLDING)), "holding"),
            unit="short",
            width=8,
            colours={"alive": BLUE, "holding": ORANGE},
        ),
        lines(
            "Rows per second, by pool",
            "Each pool of workers has an address of its own.",
            at_all_times(rate(counted(metrics.ROWS), "instance"), "{{instance}}"),
            unit="rps",
            width=8,
        ),
        lines(
            "Batches by what became of them",
            "`rest` batches did a part and were cut; `dropped` ones were somebody else's, or done already.",
            at_all_times(rate(counted(metrics.BATCHES), "outcome"), "{{outcome}}"),
            unit="ops",
            width=8,
            stacked=True,
        ),
        lines(
            "Messages from the queue",
            "Each rings for some batches. None, while batches are pending, is a queue that nobody reads or "
            "writes.",
            at_all_times(rate(counted(metrics.MESSAGES), "instance"), "{{instance}}"),
            unit="ops",
            width=8,
        ),
        lines(
            "Messages refused",
            "They were no range of batches: somebody else writes into the queue. They do nothing.",
            at_all_times(rate(counted(metrics.REFUSED), "instance"), "{{instance}}"),
            unit="ops",
            width=8,
        ),
        lines(
            "Time not worked, by reason",
            "Of each second, how long workers rested or were held, all together.",
            at_all_times(rate(counted(metrics.THROTTLED), "reason"), "{{reason}}"),
            unit="s",
            width=8,
            stacked=True,
        ),
    ]


def _time() -> list[Panel]:
    duration, wait = counted(metrics.DURATION), counted(metrics.WAIT)
    return [
        times(
            "Time of a batch",
            "How long batches of all tables took in the server. Dark is often.",
            rate(duration, "le"),
        ),
        times(
            "Wait of a batch",
            "From when a batch was planned, or due again, until it began.",
            rate(wait, "le"),
        ),
        lines(
            "Time of a batch, quantiles",
            "Of all batches within the interval, half took less than the first, 95 of 100 less than the "
            "second.",
            at_all_times(quantile(0.5, duration), "median"),
            at_all_times(quantile(0.95, duration), "95 %"),
            unit="s",
            colours={"median": BLUE, "95 %": ORANGE},
        ),
        lines(
            "Wait of a batch, quantiles",
            "The same of the wait from planned, or due again, to begun.",
            at_all_times(quantile(0.5, wait), "median"),
            at_all_times(quantile(0.95, wait), "95 %"),
            unit="s",
            colours={"median": BLUE, "95 %": ORANGE},
        ),
    ]


def _failures() -> list[Panel]:
    return [
        more_in(
            lines(
                "Batches that failed, by table",
                "Those that are tried again among them.",
                at_all_times(rate(counted(metrics.FAILURES), "table"), "{{table}}"),
                unit="ops",
                width=8,
            ),
            "TenantryFailing",
        ),
        lines(
            "Batches that failed, by SQLSTATE",
            "By class: 40 deadlocks, 55 locks that others held, 57 timeouts, 22 and 23 the data's own "
            "faults.",
            at_all_times(rate(counted(metrics.FAILURES), "sqlstate_class"), "{{sqlstate_class}}"),
            unit="ops",
            width=8,
        ),
        lines(
            "Attempts that go again, by SQLSTATE",
            "Failures after which a batch is tried once more.",
            at_all_times(rate(counted(metrics.RETRIES), "sqlstate_class"), "{{sqlstate_class}}"),
            unit="ops",
            width=8,
        ),
    ]
