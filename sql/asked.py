"""What either database answers about rows that no plan is about yet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Of the rows that were looked at: how many say whose they are, in what SQL expression."""

    expression: str
    rows: int
    known: int


@dataclass(frozen=True, slots=True)
class Untold:
    """Rows by which another table can't be found: they name nothing, or what is not there."""

    nothing: int
    dangling: int
