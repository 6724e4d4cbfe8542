"""What is announced, in the ledger's audit, and how far it got that a webhook is to hear of.

An announcement is in the outbox by being written, in one transaction with what it tells of. Whoever has the
outbox sends the first of them, and only then marks it: if it dies in between it is sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sql.database import Database
from sql.ledger import LEDGER, send
from worker.audit import Delivery


@dataclass(frozen=True, slots=True)
class Told:
    """An announcement that still holds: its facts, and its age in seconds."""

    about: dict[str, Any]
    age: float


def last_told(
    connection: Database, migration: int, kind: str, *, stage: str | None = None, over: Sequence[str]
) -> Told | None:
    """The last announcement of a kind; None where one of the kinds `over` has come since."""
    rows = send(connection, LEDGER.last_told, migration=migration, kind=kind, stage=stage, over=list(over))
    return Told(rows[0]["about"] or {}, rows[0]["age"]) if rows else None


def held_told(connection: Database, migration: int, job: int) -> bool:
    """Whether the hold that lasts was told of: no batch of the job has ended since."""
    return bool(send(connection, LEDGER.held_told, migration=migration, job=job)[0]["there"])


@dataclass(frozen=True, slots=True)
class Due:
    """An announcement that is to go out; `age` in seconds, by the server's clock."""

    id: int
    at: datetime
    actor: str
    kind: str
    message: str
    stage: str | None
    about: dict[str, Any] | None
    age: float


def next_due(connection: Database, migration: int) -> Due | None:
    """What is to go out next, in the order in which it was written."""
    rows = send(connection, LEDGER.next_due, migration=migration)
    return Due(**rows[0]) if rows else None


def settle_delivery(connection: Database, event: int, delivery: Delivery, error: str | None = None) -> None:
    """Record how far an announcement got; `due` keeps it, with what stood in the way."""
    send(connection, LEDGER.settle_delivery, event=event, delivery=delivery, error=error)


@dataclass(frozen=True, slots=True)
class Outbox:
    """How many announcements are to go out, the first written `since`; and how many never will."""

    due: int
    since: datetime | None
    refused: int
    given_up: int
    error: str | None
    """What stood in the way of the last that did not get through at once."""


def outbox(connection: Database, migration: int) -> Outbox:
    """What is to go out, and what could not."""
    return Outbox(**send(connection, LEDGER.outbox, migration=migration)[0])
