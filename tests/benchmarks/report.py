"""What was measured, as tables to read and as JSON; and the server and machine that it was measured on."""

import json
import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from tests.benchmarks.figures import Bar, Figure, Verdict
from tests.benchmarks.measured import Run
from tests.benchmarks.rounds import Round, Way
from tests.benchmarks.tables import Key

_SETTINGS = (
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "wal_compression",
    "full_page_writes",
    "fsync",
    "synchronous_commit",
    "autovacuum",
    "max_parallel_workers_per_gather",
)
_MEGABYTE = 1_000_000
_COLOURS = {Verdict.AIMED: "green", Verdict.REACHED: "green", Verdict.MISSED: "red", Verdict.SHOWN: ""}


@dataclass(frozen=True, slots=True)
class Where:
    """What it was measured on."""

    version: str
    settings: dict[str, str]
    cores: int
    machine: str
    sqlite: str = sqlite3.sqlite_version

    @classmethod
    def of(cls, url: str) -> "Where":
        """Ask a server and the machine."""
        with psycopg.connect(url) as connection:
            settings = {name: _setting(connection, name) for name in _SETTINGS}
            version = _setting(connection, "server_version")
        return cls(version, settings, os.cpu_count() or 0, f"{platform.system()} {platform.machine()}")


def _setting(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


@dataclass(frozen=True, slots=True)
class Medians:
    """A way over the table, each number the median of its rounds; bytes of WAL and sizes in MB."""

    way: Way
    key: Key
    rounds: int
    rows_per_second: float
    seconds: float
    whole: float
    wal: float
    before: float
    after: float
    heap_only: float
    paging: str
    batches: float
    batch_rows: float


def medians(rounds: Sequence[Round]) -> list[Medians]:
    """Every way that was measured, in the order of the first round."""
    ways = dict.fromkeys(known for round_ in rounds for known in round_.runs)
    return [
        _medians(way, key, [round_.runs[way, key] for round_ in rounds if (way, key) in round_.runs], rows)
        for rows in [rounds[0].tables.rows if rounds else 0]
        for way, key in ways
    ]


def _medians(way: Way, key: Key, runs: Sequence[Run], rows: int) -> Medians:
    def middle(values: Sequence[float]) -> float:
        return statistics.median(values) if values else 0.0

    cuts = [run.cut for run in runs if run.cut is not None]
    return Medians(
        way=way,
        key=key,
        rounds=len(runs),
        rows_per_second=middle([rows / run.seconds for run in runs]),
        seconds=middle([run.seconds for run in runs]),
        whole=middle([run.whole for run in runs]),
        wal=middle([run.wal / _MEGABYTE for run in runs]),
        before=middle([run.before / _MEGABYTE for run in runs]),
        after=middle([run.after / _MEGABYTE for run in runs]),
        heap_only=middle([run.heap_only for run in runs]),
        paging=f"{cuts[0].spec.paging}, {cuts[0].spec.stripes}" if cuts else "",
        batches=middle([len(cut.ranges) for cut in cuts]),
        batch_rows=middle([middle(cut.rows) for cut in cuts]),
    )


def say(
    console: Console, figures: Sequence[Figure], rounds: Sequence[Round], where: Where, rows: int
) -> None:
    """Print the figures against their bars, then every way over the table."""
    settings = ", ".join(f"{name} {value}" for name, value in where.settings.items())
    console.print(
        f"PostgreSQL {where.version}, SQLite {where.sqlite}, "
        f"{where.cores} cores, {where.machine}; {rows:,} rows"
    )
    console.print(settings, style="dim")
    console.print(_against_bars(figures))
    if rounds:
        console.print(_ways(medians(rounds)))


def _against_bars(figures: Sequence[Figure]) -> Table:
    table = Table(
        "comparison", "figure", title="Medians of the rounds' ratios, ours to theirs", title_justify="left"
    )
    for name in ("median", "rounds", "must", "aim"):
        table.add_column(name, justify="right")
    table.add_column("")
    before = ""
    for figure in figures:
        colour = _COLOURS[figure.verdict]
        table.add_row(
            figure.says if figure.says != before else "",
            figure.bar.figure,
            number(figure.median),
            " ".join(number(value) for value in figure.rounds) if len(figure.rounds) > 1 else "",
            bound(figure.bar, figure.bar.must),
            bound(figure.bar, figure.bar.aim),
            f"[{colour}]{figure.verdict.value}[/]" if colour else "",
        )
        before = figure.says
    return table


def _ways(ways: Sequence[Medians]) -> Table:
    table = Table("way", "key", title="Every way over the table, medians", title_justify="left")
    for name in ("rows/s", "seconds", "whole", "WAL, MB", "before, MB", "after, MB", "heap-only"):
        table.add_column(name, justify="right")
    table.add_column("paging, stripes")
    table.add_column("batches", justify="right")
    table.add_column("rows each", justify="right")
    for way in ways:
        table.add_row(
            way.way,
            way.key,
            f"{way.rows_per_second:,.0f}",
            f"{way.seconds:.1f}",
            f"{way.whole:.1f}",
            f"{way.wal:,.0f}",
            f"{way.before:,.0f}",
            f"{way.after:,.0f}",
            f"{way.heap_only:.0%}",
            way.paging,
            f"{way.batches:,.0f}" if way.paging else "",
            f"{way.batch_rows:,.0f}" if way.paging else "",
        )
    return table


def number(value: float) -> str:
    """A ratio with two decimals, small seconds with three, what is large without any."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}"


def bound(bar: Bar, value: float | None) -> str:
    """A bound as it reads beside the figure."""
    if value is None:
        return ""
    return f"{'≤' if bar.at_most else '≥'} {value:g}"


def write(path: Path, figures: Sequence[Figure], rounds: Sequence[Round], where: Where, rows: int) -> None:
    """Write all of it as JSON: the figures with their rounds, and every single run."""
    path.write_text(json.dumps(as_json(figures, rounds, where, rows), indent=2) + "\n", encoding="utf-8")


def as_json(figures: Sequence[Figure], rounds: Sequence[Round], where: Where, rows: int) -> dict[str, Any]:
    """The figures in the order of their comparisons, and the runs in the order in which they were made."""
    return {
        "measured_on": asdict(where),
        "rows": rows,
        "figures": [
            {
                "comparison": figure.comparison,
                "says": figure.says,
                **asdict(figure.bar),
                "median": figure.median,
                "rounds": list(figure.rounds),
                "verdict": figure.verdict.value,
            }
            for figure in figures
        ],
        "ways": [asdict(way) for way in medians(rounds)],
        "runs": [
            {"round": at, "way": way, "key": key, **_without_cut(run)}
            for at, round_ in enumerate(rounds, 1)
            for (way, key), run in round_.runs.items()
        ],
    }


def _without_cut(run: Run) -> dict[str, Any]:
    """A run's numbers; the thousand ranges of its cut are told by their count."""
    numbers = {name: getattr(run, name) for name in Run.__dataclass_fields__ if name != "cut"}
    return numbers | {"batches": len(run.cut.ranges) if run.cut else None}
