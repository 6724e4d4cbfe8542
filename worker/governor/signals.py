"""Reads the signals of the database's health for real."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg.sql import SQL

import sql.postgres
from sql.named import Statement, load
from sql.postgres.connection import Connection
from worker.governor.limits import Sample, SignalName, answered
from worker.ledger import Settings

SIGNALS = load(Path(sql.postgres.__file__).parent, "signals")

#: What one statement of a look may take, in milliseconds; it takes a few.
_BOUND_MS = 500


@dataclass(frozen=True, slots=True)
class Standby:
    """A standby that streams: its slot or application_name, its walsender, its position in the WAL in bytes.

    Names may stand twice: `walreceiver` is the default of every standby without a slot.
    """

    name: str
    pid: int
    replayed: float


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen at once: signals that speak for themselves, and positions in the WAL, in bytes.

    `written` is the server's own position. What it and the standbys' mean as lag and as a rate takes what was
    seen before (`worker.governor.history`). `timeline` tells one primary from the next. `others`: whether
    anybody else's session was at work in the last seconds, or this role may not see it.
    """

    sample: Sample
    written: float
    standbys: tuple[Standby, ...]
    others: bool
    timeline: int


def look(connection: Connection, settings: Settings) -> Look:
    """Look at the database once; `connection` is in autocommit.

    Raises:
        psycopg.Error: nothing can be read; what one signal lacks is in the sample's `unreadable`.
    """
    with connection.transaction():
        _bound(connection)
        streaming = standbys(connection)
        here = timeline(connection)
        row = _one(connection, SIGNALS.sample)
    sample = Sample()
    for part in (
        _lag(streaming, row),
        _locks(row),
        _others(row),
        _table(row),
        _slots(row),
        _archive(connection, row),
        _connections(row),
        _query(connection, settings.query),
    ):
        sample = Sample(
            values=sample.values | part.values,
            unreadable=sample.unreadable | part.unreadable,
            details=sample.details | part.details,
        )
    return Look(
        sample=sample,
        written=row["written"],
        standbys=tuple(streaming or ()),
        others=row["others"],
        timeline=here,
    )


def standbys(connection: Connection) -> list[Standby] | None:
    """The standbys that stream now; None where this role may not see how far they are."""
    with connection.cursor(row_factory=class_row(Standby)) as cursor:
        found = cursor.execute(SIGNALS.standbys.compose()).fetchall()
    return None if any(standby.replayed is None for standby in found) else found


def timeline(connection: Connection) -> int:
    """The primary's timeline: one more after each failover, at least."""
    here: int = _one(connection, SIGNALS.timeline)["timeline"]
    return here


def _one(connection: Connection, statement: Statement, **parameters: Any) -> dict[str, Any]:
    with connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(statement.compose(), parameters).fetchone()
    if row is None:
        raise RuntimeError(f"{statement.name} gives one row")
    return row


def _bound(connection: Connection) -> None:
    connection.execute(SIGNALS.bound.compose(), {"ms": _BOUND_MS})


def _hidden(names: tuple[SignalName, ...], grant: str, role: str) -> Sample:
    return Sample(unreadable=dict.fromkeys(names, f"GRANT {grant} TO {role}"))


def _lag(streaming: list[Standby] | None, row: dict[str, Any]) -> Sample:
    if streaming is None:
        return _hidden(("lag", "lag_bytes"), "pg_read_all_stats", row["role"])
    return Sample()


def _locks(row: dict[str, Any]) -> Sample:
    who = row["waited_who"]
    return Sample(
        values={"waiting": row["waiting"], "waited": row["waited"] or 0.0},
        details={"waiting": who, "waited": who} if who else {},
    )


def _others(row: dict[str, Any]) -> Sample:
    """What other sessions have open, whose times are hidden from roles without the right."""
    if not row["sees_all"]:
        return _hidden(("transaction", "snapshot", "vacuums"), "pg_read_all_stats", row["role"])
    details: dict[SignalName, str | None] = {
        "transaction": row["transaction_who"],
        "snapshot": row["snapshot_who"],
        "vacuums": row["vacuums_what"],
    }
    return Sample(
        values={
            "transaction": row["transaction"] or 0.0,
            "snapshot": row["snapshot"] or 0.0,
            "vacuums": row["vacuums"],
        },
        details={signal: detail for signal, detail in details.items() if detail},
    )


def _table(row: dict[str, Any]) -> Sample:
    if row["dead"] is None:
        return Sample()
    return Sample(values={"dead": row["dead"]}, details={"dead": row["dead_part"]})


def _slots(row: dict[str, Any]) -> Sample:
    if row["slot"] is None:
        return Sample()
    slot = row["slot"] if row["slot_active"] else f"{row['slot']}, not in use"
    return Sample(values={"slot_bytes": row["slot_bytes"]}, details={"slot_bytes": slot})


def _archive(connection: Connection, row: dict[str, Any]) -> Sample:
    if not row["archives"]:
        return Sample()
    unlisted, listed = Sample(), dict[str, Any]()
    if row["lists_archive"]:
        try:
            with connection.transaction():
                _bound(connection)
                listed = _one(connection, SIGNALS.archive, failed=row["archive_failed_file"])
        except psycopg.errors.QueryCanceled:
            told = f"listing what waits to be archived took more than {_BOUND_MS} ms"
            unlisted = Sample(unreadable={"archive_files": told})
    else:
        unlisted = _hidden(("archive_files",), "pg_monitor", row["role"])
    values: dict[SignalName, float] = {"archive_failing": 0.0}
    details: dict[SignalName, str] = {}
    if row["archive_fails"]:
        # Without a list the last success is the only bound there is: rather too long than too short.
        failing = listed.get("failing")
        values["archive_failing"] = row["since_archived"] if failing is None else failing
        details["archive_failing"] = row["archive_failed_file"]
    if listed:
        values["archive_files"] = listed["files"]
        if listed["first"]:
            details["archive_files"] = f"{listed['first'].removesuffix('.ready')} is first"
    return Sample(values=values, details=details, unreadable=unlisted.unreadable)


def _connections(row: dict[str, Any]) -> Sample:
    used, most = row["connections_used"], row["connections_most"]
    return Sample(values={"connections": used / max(1, most)}, details={"connections": f"{used} of {most}"})


def _query(connection: Connection, query: str | None) -> Sample:
    """The plan's own number. It can write nothing, and only this signal goes with it when it fails.

    Raises:
        psycopg.Error: the connection is lost.
    """
    if query is None:
        return Sample()
    try:
        with connection.transaction(force_rollback=True):
            _bound(connection)
            connection.execute(SIGNALS.forbid_writing.compose())
            # binary: what brings the extended protocol with it.
            connection.execute(SIGNALS.ask_query.compose(query=SQL(query)), binary=True)
            rows = connection.execute(SIGNALS.answer_of_query.compose(), binary=True).fetchall()
    except psycopg.Error as error:
        if connection.broken:
            raise
        # What is said of wrong data quotes it, and it is the application's; of a wrong query, the plan's own.
        if not isinstance(error, psycopg.ProgrammingError | psycopg.OperationalError):
            return Sample(unreadable={"query": f"it ends in {type(error).__name__}"})
        return Sample(unreadable={"query": error.diag.message_primary or str(error)})
    return answered(rows)
