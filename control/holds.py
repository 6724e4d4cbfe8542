"""What is held and why: batches that wait after a failure, rows set aside, jobs that stopped themselves.

For batches that wait for a lock it is told who has it: for certain where a worker waits for that session
right now; else, for a worker waits a tenth of a second and lets go, by who has been in the table for longest.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from sql.database import Database
from sql.job import PLACE
from sql.ledger import HOLDS, JOBS, send
from sql.postgres.connection import Connection
from sql.postgres.holds import ask
from sql.postgres.locks import Blocker
from sql.sqlite.batch import ROWID, primary_key_at
from sql.sqlite.connection import File
from sql.sqlstate import meaning

#: Failures that somebody else's transaction may be behind: no lock, a deadlock, out of time.
_FOR_A_LOCK = frozenset({"55P03", "40P01", "57014"})
#: Sessions told per part: the oldest are the ones to look at.
_MOST_BLOCKERS = 3


class Fact(BaseModel):
    """Something that was read, and stays as it was."""

    model_config = ConfigDict(frozen=True)


class Place(Fact):
    """A table of the plan, and its leaf partition where it has several."""

    table: str
    part: str
    parted: bool
    """Whether the table has other parts too."""

    @property
    def where(self) -> str:
        """How people say it."""
        return f"{self.table} ({self.part})" if self.parted else self.table


class Blocking(Fact):
    """Who holds locks on the table of a batch that waits: `certain` if a worker waits for that session now.

    `age` is how long its transaction is open, in seconds.
    """

    certain: bool
    session: Blocker


class Waiting(Place):
    """Batches of one job that wait after the same failure.

    `sqlstate` is None where nobody was left to tell it; `next_try_at` is None where they go as soon as they
    are rung again.
    """

    sqlstate: str | None
    meaning: str
    batches: int
    error: str | None
    since: datetime
    next_try_at: datetime | None
    blocked_by: tuple[Blocking, ...] = ()
    hidden: str | None = None
    """What to grant to be told more about who blocks; None where nothing is hidden."""


class Stopped(Place):
    """A job that stopped itself, as when more than half of its last batches failed."""

    reason: str | None


class SetAside(Place):
    """A row in quarantine; `key` is its key by column name, in a file behind its rowid."""

    key: dict[str, str]
    sqlstate: str
    meaning: str
    message: str
    since: datetime


class Holds(Fact):
    """All that is held; of the rows in quarantine the first, and how many `more` there are."""

    rows: tuple[SetAside, ...]
    more: int
    waiting: tuple[Waiting, ...]
    stopped: tuple[Stopped, ...]


def read(connection: Database, migration: int, *, most: int) -> Holds:
    """Read what is held, of the quarantine the first `most` rows."""
    rows = tuple(
        _set_aside(connection, row)
        for row in send(connection, HOLDS.set_aside, migration=migration, most=most)
    )
    count = int(send(connection, JOBS.count_quarantined, migration=migration)[0]["count"])
    return Holds(
        rows=rows,
        more=max(0, count - len(rows)),
        waiting=waiting(connection, migration),
        stopped=stopped(connection, migration),
    )


def waiting(connection: Database, migration: int) -> tuple[Waiting, ...]:
    """The batches that wait after a failure, with who blocks those that wait for a lock."""
    found = [
        Waiting(**row, meaning=meaning(row["sqlstate"]))
        for row in send(connection, HOLDS.waiting, migration=migration)
    ]
    parts = {one.part for one in found if one.sqlstate in _FOR_A_LOCK}
    if not parts or isinstance(connection, File):  # SQLite doesn't tell who has the write lock
        return tuple(found)
    blockers = _blockers(connection, sorted(parts))
    hidden = _hidden(connection, blockers)
    return tuple(
        one.model_copy(update={"blocked_by": blockers.get(one.part, ()), "hidden": hidden})
        if one.sqlstate in _FOR_A_LOCK
        else one
        for one in found
    )


def stopped(connection: Database, migration: int) -> tuple[Stopped, ...]:
    """The jobs that stopped themselves."""
    return tuple(Stopped(**row) for row in send(connection, HOLDS.stopped, migration=migration))


def _set_aside(connection: Database, row: dict[str, Any]) -> SetAside:
    names = [column["name"] for column in row["columns"]] or [PLACE.name]
    key = dict(zip(names, row["key"], strict=True))
    if isinstance(connection, File) and row["columns"][0]["type"] == ROWID:
        key |= primary_key_at(connection, row["part"], names[0], int(row["key"][0]))
    return SetAside(
        table=row["table"],
        part=row["part"],
        parted=row["parted"],
        key=key,
        sqlstate=row["sqlstate"],
        meaning=meaning(row["sqlstate"]) if row["sqlstate"] else "",
        message=row["message"],
        since=row["since"],
    )


def _blockers(connection: Connection, parts: Sequence[str]) -> dict[str, tuple[Blocking, ...]]:
    found: dict[str, tuple[Blocking, ...]] = {}
    for row in ask(connection, "blockers", parts=list(parts), most=_MOST_BLOCKERS):
        part, certain = row.pop("part"), row.pop("certain")
        found[part] = (*found.get(part, ()), Blocking(certain=certain, session=Blocker(**row)))
    return found


def _hidden(connection: Connection, blockers: dict[str, tuple[Blocking, ...]]) -> str | None:
    """What to grant where something of the blockers is hidden from this role."""
    sessions = [blocking.session for each in blockers.values() for blocking in each]
    if all(session.state is not None or session.pid is None for session in sessions):
        return None
    (rights,) = ask(connection, "rights")
    return None if rights["sees_all"] else f"GRANT pg_read_all_stats TO {rights['role']}"
