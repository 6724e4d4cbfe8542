"""How far an index is that is being built, and when it will be done, as the server tells it.

The server counts within a phase and not over all of them, so each phase has a share of the whole: what it
took of the time, on the average of three indexes of 1.5 million rows (a text column of few values, a unique
one of two columns, a number; 3 to 7 s each). No phase lasts as long for every index, so the end that is told
is off by half at the beginning, and right towards the end.
"""

from typing import Any

from psycopg.rows import dict_row

from control.holds import Fact
from sql.postgres.connection import Connection
from sql.postgres.indexes import STATEMENTS
from sql.postgres.locks import Blocker

#: Of the whole, what is behind when a phase begins, and when it ends. Waiting for others moves nothing.
PHASES = {
    "initializing": (0.0, 0.0),
    "waiting for writers before build": (0.0, 0.0),
    "building index": (0.0, 0.0),
    "building index: initializing": (0.0, 0.0),
    "building index: scanning table": (0.0, 0.25),
    "building index: sorting live tuples": (0.25, 0.48),
    "building index: loading tuples in tree": (0.48, 0.7),
    "waiting for writers before validation": (0.7, 0.7),
    "index validation: scanning index": (0.7, 0.76),
    "index validation: sorting tuples": (0.76, 0.84),
    "index validation: scanning table": (0.84, 1.0),
    "waiting for old snapshots": (1.0, 1.0),
}

#: Below this share no end is told: it would be a guess.
_TELLING = 0.1


class Building(Fact):
    """An index that is being built; `share` of all its work is done, 0 to 1.

    `index` is None until it has its name. `done` and `total` are the phase's own, both 0 where it counts
    nothing. `eta_seconds` is None where it can't be told: at the beginning, and while others are waited for.
    """

    table: str
    index: str | None
    phase: str
    share: float
    done: int
    total: int
    counts: str
    """What `done` and `total` count: `blocks`, `tuples`, or, while others are waited for, `sessions`."""
    seconds: float
    eta_seconds: float | None
    waits_for: Blocker | None


def read(connection: Connection, migration: int) -> tuple[Building, ...]:
    """The indexes that the migration's controller builds now."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(STATEMENTS.builds.compose(), {"migration": migration}).fetchall()
    return tuple(map(_building, rows))


def _building(row: dict[str, Any]) -> Building:
    waiting = row["phase"].startswith("waiting")
    counts = (
        "sessions" if waiting else "tuples" if row["tuples_total"] and not row["blocks_total"] else "blocks"
    )
    done, total = {
        "sessions": (row["lockers_done"], row["lockers_total"]),
        "tuples": (row["tuples_done"], row["tuples_total"]),
        "blocks": (row["blocks_done"], row["blocks_total"]),
    }[counts]
    share = share_of(row["phase"], done, total)
    left = row["seconds"] * (1 - share) / share if share >= _TELLING and not waiting else None
    keys = ("pid", "user", "application", "age", "state", "query")
    return Building(
        table=row["table"],
        index=row["index"],
        phase=row["phase"],
        share=share,
        done=done,
        total=total,
        counts=counts,
        seconds=row["seconds"],
        eta_seconds=left,
        waits_for=Blocker(*(row[key] for key in keys)) if row["pid"] is not None else None,
    )


def share_of(phase: str, done: int, total: int) -> float:
    """What of the whole is done, from the phase and how far that is; 0 in a phase that nobody knows."""
    begins, ends = PHASES.get(phase, (0.0, 0.0))
    return begins + (ends - begins) * (min(1.0, done / total) if total > 0 else 0.0)
