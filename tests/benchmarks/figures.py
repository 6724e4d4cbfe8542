"""A figure of a comparison: a ratio for each round, their median, and the bar that it is held against."""

import statistics
from dataclasses import dataclass
from enum import Enum


class Verdict(Enum):
    """How a figure stands against its bar."""

    AIMED = "aim reached"
    REACHED = "reached"
    MISSED = "missed"
    SHOWN = ""
    """There is no bar; it is there to be read."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach, and what it aims at; where it is `at_most`, smaller is better."""

    figure: str
    must: float | None = None
    aim: float | None = None
    at_most: bool = False

    def verdict(self, value: float) -> Verdict:
        """Hold a value against the bar: as it is, for rounding it first would let a miss through."""
        if self.must is None:
            return Verdict.SHOWN
        if not self._holds(value, self.must):
            return Verdict.MISSED
        aim = self.must if self.aim is None else self.aim
        return Verdict.AIMED if self._holds(value, aim) else Verdict.REACHED

    def _holds(self, value: float, bound: float) -> bool:
        return value <= bound if self.at_most else value >= bound


@dataclass(frozen=True, slots=True)
class Figure:
    """The values of a figure, one per round, with what was compared."""

    comparison: str
    says: str
    bar: Bar
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    @property
    def verdict(self) -> Verdict:
        """How the median stands against the bar."""
        return self.bar.verdict(self.median)


def missed(figures: list[Figure]) -> bool:
    """Whether any figure missed what it must reach."""
    return any(figure.verdict is Verdict.MISSED for figure in figures)
