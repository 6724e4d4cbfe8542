"""One round: every way over the table once, each on a fresh copy, shared by the comparisons that want it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from tests.benchmarks import backfills, ways
from tests.benchmarks.measured import Run
from tests.benchmarks.tables import Key, Tables

Way = Literal[
    "engine",
    "engine, one worker",
    "one UPDATE",
    "bare loop",
    "rows by trigger",
    "contiguous",
    "striped",
    "pages",
]


@dataclass
class Round:
    """The runs of a round so far, by way and key: a machine that slows down slows both sides of a ratio."""

    tables: Tables
    say: Callable[[str], None]
    runs: dict[tuple[Way, Key], Run] = field(default_factory=dict)

    def run(self, way: Way, key: Key) -> Run:
        """The way over the table with this key; measured now, unless this round has it already."""
        if (way, key) not in self.runs:
            self.runs[way, key] = self._known(way, key) or self._measure(way, key)
        return self.runs[way, key]

    def _known(self, way: Way, key: Key) -> Run | None:
        """The engine's own run, where it chose just this way of paging."""
        engine = self.runs.get(("engine", key))
        return engine if engine and engine.cut and engine.cut.spec.paging == way else None

    def _measure(self, way: Way, key: Key) -> Run:
        # Before the copy is made: the loop needs what the engine did in this round.
        cut = self.run("engine", key).cut if way == "bare loop" else None
        url, rows = self.tables.big(key), self.tables.rows
        match way:
            case "engine":
                run = backfills.engine(url, rows)
            case "engine, one worker":
                run = backfills.engine(url, rows, processes=1)
            case "contiguous" | "striped" | "pages":
                run = backfills.engine(url, rows, paging=way)
            case "one UPDATE":
                run = ways.one_update(url, rows)
            case "rows by trigger":
                run = ways.rows_by_trigger(url, rows)
            case "bare loop":
                assert cut is not None
                run = ways.bare_loop(url, rows, cut)
        self.say(f"{way}, {key} key: {run.seconds:.1f} s")
        return run
