"""What grew in a soak: each measure's last quarter held against its second, when all has warmed up."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median

#: What was measured at one moment, by the measure's name.
Sample = Mapping[str, float]

_HEAD = ("measure", "first", "2nd quarter", "last quarter", "growth", "allowed", "")


@dataclass(frozen=True, slots=True)
class Allowance:
    """By how much a measure may be more in the last quarter: so much, or that share of the second quarter.

    `share` and `amount` are each allowed; None for what grows by design, which is only told.
    """

    amount: float | None = 0.0
    share: float = 0.0

    def over(self, before: float) -> float | None:
        """The growth that is allowed over what was before."""
        return None if self.amount is None else max(self.amount, self.share * before)


@dataclass(frozen=True, slots=True)
class Trend:
    """A measure over a soak: its first sample, the medians of two quarters, and what was allowed."""

    measure: str
    first: float
    before: float
    after: float
    allowed: float | None

    @property
    def growth(self) -> float:
        """How much more it is in the last quarter than in the second."""
        return self.after - self.before

    @property
    def leaks(self) -> bool:
        """Whether it grew by more than is allowed."""
        return self.allowed is not None and self.growth > self.allowed


def trends(samples: Sequence[Sample], allowances: Mapping[str, Allowance]) -> list[Trend]:
    """The trend of each measure; `allowances` by patterns of names, the first that fits.

    What a sample doesn't have was 0 then.
    """
    assert len(samples) >= 8, f"{len(samples)} samples are too few to tell a trend"
    quarter = len(samples) // 4
    made = []
    for measure in dict.fromkeys(name for sample in samples for name in sample):
        values = [sample.get(measure, 0.0) for sample in samples]
        before = median(values[quarter : 2 * quarter])
        allowed = next(given for name, given in allowances.items() if fnmatchcase(measure, name))
        made.append(Trend(measure, values[0], before, median(values[-quarter:]), allowed.over(before)))
    return made


def lines(found: Sequence[Trend]) -> Iterator[str]:
    """The lines of the table, a measure each."""
    rows = [_HEAD, *(_row(trend) for trend in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        first, *numbers = row
        cells = [text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True)]
        yield "  ".join([first.ljust(widths[0]), *cells]).rstrip()


def _row(trend: Trend) -> tuple[str, ...]:
    allowed = "by design" if trend.allowed is None else f"{trend.allowed:,.0f}"
    return (
        trend.measure,
        *(f"{value:,.0f}" for value in (trend.first, trend.before, trend.after)),
        f"{trend.growth:+,.0f}" if trend.growth else "0",
        allowed,
        "LEAKS" if trend.leaks else "",
    )
