"""What the governor is told and what it finds, signal by signal: names, limits, one look at the database."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: The signals. The plan's limits for them are `max_<signal>` and `stop_<signal>`. In base units: seconds,
#: bytes, counts, shares of 1.
SignalName = Literal[
    "lag",
    "lag_bytes",
    "slot_bytes",
    "archive_files",
    "archive_failing",
    "waiting",
    "waited",
    "transaction",
    "snapshot",
    "vacuums",
    "dead",
    "wal_rate",
    "connections",
    "commit",
    "query",
    "batch",
]

#: What each is called where people read it.
LABELS: dict[SignalName, str] = {
    "lag": "replica lag in seconds",
    "lag_bytes": "replica lag in bytes",
    "slot_bytes": "WAL held by a replication slot, in bytes",
    "archive_files": "WAL files waiting to be archived",
    "archive_failing": "seconds since archiving began to fail",
    "waiting": "sessions waiting behind ours",
    "waited": "seconds that a session waits behind ours",
    "transaction": "longest transaction in seconds",
    "snapshot": "oldest snapshot in seconds",
    "vacuums": "vacuums at work on the table",
    "dead": "share of dead rows",
    "wal_rate": "WAL bytes per second",
    "connections": "share of connections in use",
    "commit": "seconds that a commit takes longer than before the first batch",
    "query": "the plan's own query",
    "batch": "seconds of a batch",
}

#: Those that mean something else on a SQLite file, where we are the ones who wait.
_ON_FILE: dict[SignalName, str] = {"waited": "seconds that a batch of ours waits for another writer"}

#: What becomes of a signal that can't be read, by the plan's word for it.
UNREADABLE = {"hold": "no batch goes until it can be", "ignore": "it is not judged"}


class Limit(BaseModel):
    """At `max` the pace is halved, from 0.7 of it shed; at `stop` no batch goes. None sets no such limit."""

    model_config = ConfigDict(frozen=True)

    max: float | None
    stop: float | None


class Sample(BaseModel):
    """One look at the database, in the signals' units.

    A signal that does not apply, as lag without a standby, is in neither `values` nor `unreadable`, which
    says why one could not be read: a right that is missing, an error of the plan's query. `details` names
    what stands behind a value: the standby, the slot, the session. `on_file`: of a SQLite file.
    """

    model_config = ConfigDict(frozen=True)

    values: dict[SignalName, float] = Field(default_factory=dict)
    unreadable: dict[SignalName, str] = Field(default_factory=dict)
    details: dict[SignalName, str] = Field(default_factory=dict)
    on_file: bool = False

    def label(self, signal: SignalName) -> str:
        """What a signal is called where people read it."""
        return _ON_FILE.get(signal, LABELS[signal]) if self.on_file else LABELS[signal]


def answered(rows: Sequence[Sequence[object]]) -> Sample:
    """What the plan's own query gave: its number, or why it is none."""
    if len(rows) != 1 or len(rows[0]) != 1:
        return Sample(unreadable={"query": "it gives something else than one row with one number"})
    (value,) = rows[0]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        return Sample(unreadable={"query": f"it gives {_kind(value)} instead of a number"})
    return Sample(values={"query": float(value)})


def _kind(value: object) -> str:
    """What a value is, without itself: it is the application's, and a text of 20 MB was a reason of 20 MB."""
    match value:
        case None:
            return "NULL"
        case str():
            return "a text"
        case float() | Decimal():
            return "infinity or NaN"
        case _:
            return f"a value of type {type(value).__name__}"
