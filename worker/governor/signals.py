"""Reads the signals of the database's health for real."""

from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import dict_row

import sql.postgres
from sql.named import load
from sql.postgres.connection import Connection
from worker.governor.limits import Sample
from worker.ledger import Settings

SIGNALS = load(Path(sql.postgres.__file__).parent, "signals")


@dataclass(frozen=True, slots=True)
class Look:
    """What one statement sees: signals that speak for themselves, and positions in the WAL, in bytes.

    `written` is the server's own, `replayed` each standby's by its name. What they mean as lag and as a rate
    takes what was seen before (`worker.governor.history`).
    """

    sample: Sample
    written: float
    replayed: dict[str, float]


def look(connection: Connection, _settings: Settings) -> Look:
    """Look at the database once."""
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(SIGNALS.sample.compose(), {}).fetchone()
    if row is None:
        raise RuntimeError("a SELECT without FROM gives one row")
    sample = Sample(values={"waiting": row["waiting"], "snapshot": row["snapshot"]})
    return Look(sample=sample, written=row["written"], replayed=row["replayed"])
