"""`make bench`: the engine against other ways to do its work, on a PostgreSQL of its own and on a file.

Every figure is a ratio of two runs of one round, and the median of the rounds. Timings are nobody's test:
they are printed with the server's version and settings and written as JSON, and the exit status is 1 where a
figure missed what it must reach.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from control.embedded.postgres import EmbeddedPostgres, start_postgres
from tests.benchmarks import (
    chain,
    comparisons,
    estimated,
    fallen_behind,
    governed,
    instant,
    key_space,
    locked_out,
    on_file,
    report,
    sources,
    whole_migration,
)
from tests.benchmarks.figures import Figure, missed
from tests.benchmarks.report import Where
from tests.benchmarks.rounds import Round
from tests.benchmarks.tables import SETTLED, Tables, settle
from worker import logs

#: What an application feels of it, measured once, on a server that has settled.
FELT: Mapping[str, Callable[[Tables], list[Figure]]] = {
    governed.NAME: governed.measure,
    whole_migration.NAME: whole_migration.measure,
    estimated.NAME: estimated.measure,
    fallen_behind.NAME: fallen_behind.measure,
    locked_out.LOCKED: locked_out.behind_a_session,
    locked_out.VACUUMED: locked_out.behind_an_autovacuum,
    governed.LIMIT: governed.rates,
    chain.NAME: chain.measure,
}
NAMES = (
    *dict.fromkeys(comparison.name for comparison in comparisons.BIG),
    instant.NAME,
    key_space.NAME,
    sources.NAME,
    on_file.NAME,
    *FELT,
)
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
    if key_space.NAME in wanted:
        apart += key_space.measure(tables)
        say("key space: simulated")
    if sources.NAME in wanted:
        apart += sources.measure(tables, given.rounds, say)
    if on_file.NAME in wanted:
        apart += on_file.measure(given.rows, given.rounds, say)
    if not wanted.isdisjoint(FELT):
        apart += _felt(wanted, say)
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


def _felt(wanted: set[str], say: Callable[[str], None]) -> Iterator[Figure]:
    with start_postgres(settings=SETTLED) as server:
        settle(server)
        tables = Tables(server, governed.ROWS)
        for name, measure in FELT.items():
            if name in wanted:
                figures = measure(tables)
                yield from figures
                told = (f"{each.bar.figure} {report.number(each.median)}" for each in figures)
                say(f"{name}: {', '.join(told)}")


def _say_in_round(say: Callable[[str], None], at: int, line: str) -> None:
    say(f"round {at}: {line}")


if __name__ == "__main__":
    sys.exit(main())
