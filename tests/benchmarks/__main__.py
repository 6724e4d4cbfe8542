"""`make bench`: the engine against other ways to do its work, on a PostgreSQL of its own.

Every figure is a ratio of two runs of one round, and the median of the rounds. Timings are nobody's test:
they are printed with the server's version and settings and written as JSON, and the exit status is 1 where a
figure missed what it must reach.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from control.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.benchmarks import (
    comparisons,
    fallen_behind,
    governed,
    instant,
    key_space,
    locked_out,
    report,
    whole_migration,
)
from tests.benchmarks.figures import Figure, missed
from tests.benchmarks.report import Where
from tests.benchmarks.rounds import Round
from tests.benchmarks.tables import Tables
from worker import logs

#: What is measured once and not against another way, under the name by which it is asked for.
APART: Mapping[str, Callable[[Tables], list[Figure]]] = {
    key_space.NAME: key_space.measure,
    governed.NAME: governed.measure,
    whole_migration.NAME: whole_migration.measure,
    fallen_behind.NAME: fallen_behind.measure,
    locked_out.LOCKED: locked_out.behind_a_session,
    locked_out.VACUUMED: locked_out.behind_an_autovacuum,
    governed.LIMIT: governed.rates,
}
NAMES = (*dict.fromkeys(comparison.name for comparison in comparisons.BIG), instant.NAME, *APART)
#: The instant path is measured on so many times the rows.
_NARROW = 10 / 3


def main() -> int:
    """Measure what was asked for, and say it."""
    given = _arguments()
    logs.configure(level=logging.ERROR)
    console = Console(width=170)
    with start_postgres() as server:
        where = Where.of(server.url())
        figures, rounds = _measure(server, given, where, lambda line: console.print(line, style="dim"))
    report.say(console, figures, rounds, where, given.rows)
    return 1 if missed(figures) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000, help="of the table (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="whose median counts (default: %(default)s)")
    parser.add_argument(
        "--only", action="append", choices=NAMES, help="this comparison; may be given several times"
    )
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go")
    return parser.parse_args()


def _measure(
    server: EmbeddedPostgres, given: argparse.Namespace, where: Where, say: Callable[[str], None]
) -> tuple[list[Figure], list[Round]]:
    """What takes seconds first, then the rounds; what there is so far is on disk after each of them."""
    wanted = set(given.only or NAMES)
    tables = Tables(server, given.rows)
    apart: list[Figure] = []
    if instant.NAME in wanted:
        apart.append(instant.measure(tables, round(given.rows * _NARROW), given.rounds))
        say(f"instant path: {apart[-1].median:.3f} s")
    for name, measure in APART.items():
        if name in wanted:
            figures = measure(tables)
            apart += figures
            say(f"{name}: {', '.join(f'{f.bar.figure} {report.number(f.median)}' for f in figures)}")
    chosen = [comparison for comparison in comparisons.BIG if comparison.name in wanted]
    rounds: list[Round] = []
    figures = apart
    for at in range(given.rounds if chosen else 0):
        round_ = Round(tables, partial(_say_in_round, say, at + 1))
        for comparison in chosen:
            comparisons.measure(comparison, round_)
        rounds.append(round_)
        figures = [f for comparison in chosen for f in comparisons.figures(comparison, rounds)] + apart
        report.write(given.json, figures, rounds, where, given.rows)
    report.write(given.json, figures, rounds, where, given.rows)
    return figures, rounds


def _say_in_round(say: Callable[[str], None], at: int, line: str) -> None:
    say(f"round {at}: {line}")


if __name__ == "__main__":
    sys.exit(main())
