"""What is compared with what, and the bars: they stand here alone, what is measured does not know them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.measured import Run
from tests.benchmarks.rounds import Round, Way
from tests.benchmarks.tables import Key

SPEED, UNPROVED, WAL, SIZE = "rows/s", "rows/s, theirs without its proof", "WAL", "size, ours after"

#: How a figure comes of a round, from our run and theirs over the same rows. The size is our own, after
#: against before.
_RATIOS: dict[str, Callable[[Run, Run], float]] = {
    SPEED: lambda ours, theirs: theirs.seconds / ours.seconds,
    UNPROVED: lambda ours, theirs: (theirs.seconds - (theirs.proof or 0.0)) / ours.seconds,
    WAL: lambda ours, theirs: ours.wal / theirs.wal,
    SIZE: lambda ours, _theirs: ours.after / ours.before,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two ways over the table with the same key; several comparisons may go by one name."""

    name: str
    says: str
    key: Key
    against: Way
    bars: tuple[Bar, ...]
    ours: Way = "engine"


BIG = (
    Comparison(
        "update-ordered",
        "one UPDATE, key in insertion order",
        "ordered",
        "one UPDATE",
        (
            Bar(SPEED, must=2.4, aim=3.0),
            Bar(WAL, must=0.65, at_most=True),
            Bar(SIZE, must=1.1, at_most=True),
        ),
    ),
    Comparison(
        "bare-loop",
        "the same batches in a bare loop on two connections, no queue, no ledger",
        "ordered",
        "bare loop",
        (Bar(SPEED, must=0.93, aim=0.98), Bar(UNPROVED)),
    ),
    Comparison(
        "workers",
        "two worker processes against one",
        "ordered",
        "engine, one worker",
        (Bar(SPEED, must=1.4, aim=1.7),),
    ),
    Comparison(
        "trigger",
        "a trigger per row, pages of 1000 rows",
        "ordered",
        "rows by trigger",
        (Bar(SPEED, must=3.0, aim=4.0),),
    ),
    Comparison(
        "update-random",
        "one UPDATE, random key",
        "random",
        "one UPDATE",
        (Bar(SPEED, must=3.0, aim=3.5), Bar(WAL, must=0.75, at_most=True), Bar(SIZE, at_most=True)),
    ),
    *(
        Comparison(
            "paging",
            f"`auto` against {way}, {key} key",
            key,
            way,
            (Bar(SPEED), Bar(WAL, at_most=True)),
        )
        for key in ("ordered", "random")
        for way in ("contiguous", "striped", "pages")
    ),
)


def measure(comparison: Comparison, round_: Round) -> None:
    """Measure both sides in this round: what we are held against first."""
    round_.run(comparison.against, comparison.key)
    round_.run(comparison.ours, comparison.key)


def figures(comparison: Comparison, rounds: Sequence[Round]) -> Iterator[Figure]:
    """The figures of a comparison, a ratio for each round."""
    pairs = [
        (round_.run(comparison.ours, comparison.key), round_.run(comparison.against, comparison.key))
        for round_ in rounds
    ]
    for bar in comparison.bars:
        ratios = tuple(_RATIOS[bar.figure](ours, theirs) for ours, theirs in pairs)
        yield Figure(comparison.name, comparison.says, bar, ratios)
