"""What the ledger keeps of a migration's course over time: who held and why, the pace, and rows by time.

All of it is bounded (`worker.ledger.HOLDS`, `PACES`; `PIECES` here), however long a migration takes.
"""

from dataclasses import dataclass
from datetime import datetime

from sql.database import Database
from sql.ledger import JOBS, LEDGER, send

#: Into so many pieces the time of the backfill is cut at most, whose rows are summed.
PIECES = 300


@dataclass(frozen=True, slots=True)
class Held:
    """A time in which a worker let no batch go; `until` is None where its end is not on record.

    `gone`: the end was written down by another, who found the worker gone, and may be late.
    """

    worker: str
    reason: str
    since: datetime
    until: datetime | None
    gone: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """Ten seconds from `at`, or more where thinned: the mean share of full speed, each signal at its worst.

    In seconds, but for `query`, whose unit is the operator's; None where there is no such signal.
    `slowed_by` is the label of the signal that last took speed away, None where none did.
    """

    at: datetime
    share: float
    slowed_by: str | None
    commit: float | None
    lag: float | None
    waited: float | None
    query: float | None
    batch: float | None


@dataclass(frozen=True, slots=True)
class Filled:
    """What batches wrote into a table, or its copies, in the `seconds` from `at`; `longest_ms` is of one."""

    table: str
    at: datetime
    seconds: float
    filled: int
    batches: int
    longest_ms: float | None

    @property
    def per_second(self) -> float:
        """Rows per second."""
        return self.filled / self.seconds


def holds(connection: Database, migration: int) -> list[Held]:
    """The last holds of all workers, oldest first."""
    return [Held(**row) for row in send(connection, LEDGER.holds, migration=migration)]


def paces(connection: Database, migration: int) -> list[Pace]:
    """The pace over time, oldest first; empty where nothing was sampled."""
    return [Pace(**row) for row in send(connection, LEDGER.paces, migration=migration)]


def rates(connection: Database, migration: int) -> list[Filled]:
    """What batches wrote over time, a table after the other in each piece; none where nothing was written."""
    return [Filled(**row) for row in send(connection, JOBS.rates, migration=migration, most=PIECES)]
