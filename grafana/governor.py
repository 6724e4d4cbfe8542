"""*Governor*: how fast it may go, why not faster, and every signal against its limit and its stop."""

from control.exported import series
from grafana.frame import Rows
from grafana.panels import (
    BLUE,
    GREEN,
    NONE_IS_WELL,
    ORANGE,
    RED,
    Panel,
    against,
    at_all_times,
    columns,
    figure,
    lines,
    now,
    timeline,
    word,
)
from grafana.queries import coded, counted, exported, largest, rate
from worker import metrics
from worker.governor.limits import LABELS, SignalName
from worker.governor.zones import Zone

QUESTION = "How fast may it go, why not faster, and how far is every signal from its limit?"

#: What each signal's panel is called, and its unit.
SIGNALS: dict[SignalName, tuple[str, str]] = {
    "lag": ("Replica lag", "s"),
    "lag_bytes": ("Replica lag in WAL", "bytes"),
    "slot_bytes": ("WAL held by a slot", "bytes"),
    "archive_files": ("WAL files to be archived", "short"),
    "archive_failing": ("Archiving fails since", "s"),
    "waiting": ("Sessions behind ours", "short"),
    "waited": ("Longest wait behind ours", "s"),
    "transaction": ("Longest transaction", "s"),
    "snapshot": ("Oldest snapshot", "s"),
    "vacuums": ("Vacuums at work", "short"),
    "dead": ("Dead rows", "percentunit"),
    "wal_rate": ("WAL per second", "binBps"),
    "connections": ("Connections in use", "percentunit"),
    "commit": ("Commits slower by", "s"),
    "query": ("The plan's own query", "short"),
    "batch": ("Time of a batch", "s"),
}

_ZONES = {
    1: (Zone.GROW.value, GREEN),
    2: (Zone.KEEP.value, BLUE),
    3: (Zone.SHED.value, "light-orange"),
    4: (Zone.HALVE.value, ORANGE),
    5: (Zone.HOLD.value, RED),
}
#: At 0.7 of a limit it sheds, at the limit it halves (`worker.governor.zones`).
_OF_ITS_LIMIT = ((None, BLUE), (0.7, ORANGE), (1.0, RED))


def rows() -> Rows:
    """The rows of panels."""
    return (("Now", _now()), ("The pace, and why", _pace()), ("Signals against limit and stop", _signals()))


def _now() -> list[Panel]:
    return [
        word(
            "Zone",
            "`grow` speeds up, `keep` does not, `shed` takes speed away, `halve` halves it, `hold` lets no "
            "batch go.",
            now(largest(f"{exported(series.GOVERNOR_ZONE)} == 1", "zone"), "{{zone}}"),
            colours=dict(_ZONES.values()),
            otherwise="not judged",
        ),
        figure(
            "Share of full speed",
            "What the governor allows of full speed.",
            now(largest(exported(series.GOVERNOR_SHARE)), "share"),
            unit="percentunit",
            thresholds=((None, ORANGE), (0.5, BLUE)),
            decimals=0,
        ),
        word(
            "Held by",
            "The signal that lets no batch go now.",
            now(largest(exported(series.HELD), "reason"), "{{reason}}"),
            colour=RED,
            otherwise="nothing",
        ),
        figure(
            "Workers that hold",
            "Living workers that let no batch go.",
            now(largest(exported(series.WORKERS_HOLDING)), "workers"),
            unit="short",
            thresholds=NONE_IS_WELL,
        ),
        figure(
            "Age of the last sample",
            "One worker samples for all, each second. Beyond 15 seconds nothing goes: what can't be read "
            "is not healthy.",
            now(largest(exported(series.GOVERNOR_SAMPLE_AGE)), "age"),
            unit="s",
            thresholds=((None, GREEN), (5, ORANGE), (15, RED)),
            decimals=0,
        ),
        figure(
            "Signals that can't be read",
            "Signals with a limit that this role may not read: `tenantry events` says once what to grant.",
            now(f"sum({largest(exported(series.GOVERNOR_UNREADABLE), 'signal')})", "signals"),
            unit="short",
            thresholds=NONE_IS_WELL,
        ),
    ]


def _pace() -> list[Panel]:
    value, limit, stop = (
        largest(exported(each), "signal")
        for each in (series.GOVERNOR_SIGNAL, series.GOVERNOR_LIMIT, series.GOVERNOR_STOP)
    )
    return [
        timeline(
            "Zone over time",
            "The zone that the worst signal put it in.",
            at_all_times(
                coded(series.GOVERNOR_ZONE, "zone", {name: code for code, (name, _) in _ZONES.items()}),
                "zone",
            ),
            words=_ZONES,
            height=4,
        ),
        timeline(
            "What held it",
            "When which signal, the operator or the plan's hours let no batch go.",
            at_all_times(largest(exported(series.HELD), "reason"), "{{reason}}"),
            words={1: ("held", RED)},
            height=6,
        ),
        lines(
            "Share of full speed",
            "What the governor allows: it is halved at once and comes back in small steps.",
            at_all_times(largest(exported(series.GOVERNOR_SHARE)), "share"),
            unit="percentunit",
            width=8,
            height=10,
            colours={"share": BLUE},
            top=1,
        ),
        lines(
            "Time not worked, by reason",
            "Of each second, how long workers rested or were held, all workers that are scraped together.",
            at_all_times(rate(counted(metrics.THROTTLED), "reason"), "{{reason}}"),
            unit="s",
            width=8,
            height=10,
            stacked=True,
        ),
        columns(
            "How near each signal is",
            "Each signal in its base unit (seconds, bytes, counts, shares), and how far it is towards its "
            "limit and its stop. The first is what slows, or will.",
            "signal",
            {
                "Of its limit": (f"{value} / ({limit} > 0)", "percentunit"),
                "Of its stop": (f"{value} / ({stop} > 0)", "percentunit"),
                "Reads": (value, "short"),
                "Limit": (limit, "short"),
                "Stop": (stop, "short"),
            },
            sorted_by="Of its limit",
            bars={"Of its limit": _OF_ITS_LIMIT},
            width=8,
            height=10,
        ),
    ]


def _signals() -> list[Panel]:
    return [_signal(name, *SIGNALS[name]) for name in LABELS]


def _signal(name: SignalName, title: str, unit: str) -> Panel:
    which = f'signal="{name}"'
    return against(
        title,
        f"`{name}`: {LABELS[name]}. At the limit the pace is halved, at the stop no batch goes: `[governor] "
        f"max_{name}`, `stop_{name}`.",
        value=largest(exported(series.GOVERNOR_SIGNAL, which)),
        limit=largest(exported(series.GOVERNOR_LIMIT, which)),
        stop=largest(exported(series.GOVERNOR_STOP, which)),
        unit=unit,
        width=6,
    )
