"""The ledger's audit: who did what, when; of a statement its lock, how long it waited and took."""

from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb
from pydantic import BaseModel, ConfigDict

from sql.database import Database
from sql.ledger import LEDGER, send

Delivery = Literal["due", "sent", "refused", "given up"]

#: What the audit keeps of a migration: its last entries, of a statement so many characters. 20 MB at most.
EVENTS, CHARACTERS = 10_000, 2_000


def record(
    connection: Database,
    migration: int,
    actor: str,
    kind: str,
    message: str,
    *,
    stage: str | None = None,
    about: dict[str, Any] | None = None,
    due: bool = False,
) -> None:
    """Write the audit: who did what, with facts for programs; what is `due` is by that in the outbox."""
    send(
        connection,
        LEDGER.record,
        migration=migration,
        actor=actor,
        kind=kind,
        message=message,
        stage=stage,
        about=None if about is None else Jsonb(about),
        delivery="due" if due else None,
    )


def begin_statement(
    connection: Database, migration: int, actor: str, *, stage: str, what: str, statement: str, lock: str
) -> int:
    """Write into the audit that a statement is about to run; the entry's id. The oldest entries make room."""
    (row,) = send(
        connection,
        LEDGER.begin_statement,
        migration=migration,
        actor=actor,
        stage=stage,
        message=what,
        text=statement[:CHARACTERS],
        lock=lock,
    )
    send(connection, LEDGER.trim_events, migration=migration, most=EVENTS)
    return int(row["id"])


def end_statement(
    connection: Database,
    event: int,
    *,
    attempts: int | None = None,
    waited: float | None = None,
    took: float | None = None,
    error: str | None = None,
) -> None:
    """Write how the statement of an entry ended; `waited` for its lock and `took` are seconds."""
    send(
        connection,
        LEDGER.end_statement,
        event=event,
        attempts=attempts,
        waited_ms=None if waited is None else waited * 1000,
        took_ms=None if took is None else took * 1000,
        error=error,
    )


class Event(BaseModel):
    """An entry of the audit. Of a statement: its lock, its attempts, and milliseconds.

    One without figures and without an error is running, or its controller died. From `about` on, only of an
    announcement: its facts, and how far it got where a webhook is to hear of it.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    actor: str
    kind: str
    message: str
    stage: str | None = None
    statement: str | None = None
    lock: str | None = None
    attempts: int | None = None
    waited_ms: float | None = None
    took_ms: float | None = None
    error: str | None = None
    about: dict[str, Any] | None = None
    delivery: Delivery | None = None
    delivered_at: datetime | None = None
    delivery_error: str | None = None


def events(connection: Database, migration: int) -> list[Event]:
    """The audit, oldest first."""
    return [Event(**row) for row in send(connection, LEDGER.events, migration=migration)]


def newest_events(connection: Database, migration: int, most: int) -> list[Event]:
    """The newest entries of the audit, `most` at most, oldest first."""
    rows = send(connection, LEDGER.newest_events, migration=migration, most=most)
    return [Event(**row) for row in reversed(rows)]


def record_unreadable(connection: Database, migration: int, actor: str, message: str) -> bool:
    """Write into the audit that a signal can't be read, once for each; False where it was said before.

    The message begins with the signal's label and a colon.
    """
    return bool(send(connection, LEDGER.record_unreadable, migration=migration, actor=actor, message=message))
