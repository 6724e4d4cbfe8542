"""Sends what is in the outbox, beside the work: nothing that becomes of it touches the migration.

It has a connection of its own, and by a lock the outbox to itself: what waits is sent in order, the first
until it is through. No transaction is open while a receiver takes its time. What is sent and not marked when
the process dies is sent again by the next, with the same id.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential_jitter

from control import status
from control.notify.message import message_of
from control.notify.webhook import Webhook, webhook_of
from control.plan.model import Plan
from sql.database import Database, connect
from sql.errors import NotDeliveredError, RefusedError, TenantryError
from sql.postgres.session import take_outbox
from sql.sqlite import session as file_session
from sql.sqlite.connection import File
from worker import ledger, outbox
from worker.outbox import Due

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: Seconds between two looks into the outbox; and that a command waits at its end until it is empty.
LOOK_EVERY, GRACE = 1.0, 5.0
#: Seconds after which what could not be delivered is given up.
KEEP = 24 * 3600.0
#: Between two attempts.
BACK_OFF = wait_exponential_jitter(initial=1, max=60)
#: What a database that is away, or busy, raises; or one whose ledger goes.
_AWAY = (TenantryError, psycopg.Error, sqlite3.Error)


@contextmanager
def delivering(plan: Plan, *, grace: float = GRACE) -> Iterator[None]:
    """Send what is announced for as long as the body runs, and `grace` seconds longer at most.

    Raises:
        GivenWrongError: the webhook's address or secret can't be used.
    """
    hook = webhook_of(plan)
    if hook is None:
        yield
        return
    sender = _Sender(plan, hook)
    thread = threading.Thread(target=sender.work, name="tenantry notify", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sender.end_at = time.monotonic() + grace
        sender.ended.set()
        # A receiver that doesn't answer may keep the thread for longer: it is left to the process's end.
        thread.join(grace)


@dataclass(slots=True)
class _Sender:
    """What the thread does."""

    plan: Plan
    hook: Webhook
    ended: threading.Event = field(default_factory=threading.Event)
    end_at: float = 0.0
    """By the monotonic clock, once it has `ended`."""
    _told: str | None = None
    """What stood in the way last, as the log has it."""
    _away: str | None = None
    """The same of the outbox itself."""

    def work(self) -> None:
        """Send until the end, whatever becomes of the database meanwhile."""
        url = self.plan.database.url.get_secret_value()
        while not self._is_over:
            try:
                with (
                    connect(url, "notify", statement_timeout_ms=5_000) as connection,
                    _taken(connection, self.plan.name) as ours,
                ):
                    self._away = None
                    if ours and self._emptied(connection):
                        return
            except _AWAY as error:
                if self._away != (
                    away := type(error).__name__
                ):  # changes, not looks: it may be away for hours
                    self._away = away
                    log.info("the outbox can't be read now", error=away)
            self._rest(LOOK_EVERY)

    def _emptied(self, connection: Database) -> bool:
        """Send what comes; True once the end has come and nothing is left, False where time was up before."""
        while not self._is_over:
            ending = self.ended.is_set()
            known = ledger.find(connection, self.plan.name)
            due = outbox.next_due(connection, known.id) if known is not None else None
            if known is not None and due is not None:
                self._deliver(connection, known, due)
            elif ending:
                return True
            else:
                self._rest(LOOK_EVERY)
        return False

    def _deliver(self, connection: Database, migration: ledger.Migration, due: Due) -> None:
        """Try until it is through, refused or too old, or the end has come."""
        if due.age >= KEEP:
            self._give_up(connection, due)
            return
        too_old_at = time.monotonic() + KEEP - due.age
        retrying = Retrying(
            stop=lambda _state: self._is_over or time.monotonic() >= too_old_at,
            wait=_wait,
            sleep=self._rest,
            retry=retry_if_exception_type(NotDeliveredError),
            before_sleep=lambda state: self._say(connection, due, state),
            reraise=True,
        )
        try:
            retrying(self._send, connection, migration, due)
        except RefusedError as error:
            outbox.settle_delivery(connection, due.id, "refused", error.reason)
            log.warning("a notification was refused", kind=due.kind, to=error.where, reason=error.reason)
        except NotDeliveredError as error:
            outbox.settle_delivery(connection, due.id, "due", error.reason)
            if time.monotonic() >= too_old_at:
                self._give_up(connection, due)
        else:
            outbox.settle_delivery(connection, due.id, "sent")
            log.info("notified", kind=due.kind, to=self.hook.where)
            self._told = None

    def _give_up(self, connection: Database, due: Due) -> None:
        outbox.settle_delivery(connection, due.id, "given up")
        log.warning("a notification was given up after a day", kind=due.kind, to=self.hook.where)

    def _send(self, connection: Database, migration: ledger.Migration, due: Due) -> None:
        self.hook.send(message_of(due, migration, status.read(connection, migration.name)))

    def _say(self, connection: Database, due: Due, state: RetryCallState) -> None:
        """Keep what stands in the way where `status` shows it, and log it: changes, not attempts."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, NotDeliveredError) and error.reason != self._told:
            self._told = error.reason
            outbox.settle_delivery(connection, due.id, "due", error.reason)
            log.warning(
                "a notification is not through yet", kind=due.kind, to=error.where, reason=error.reason
            )

    @property
    def _is_over(self) -> bool:
        return self.ended.is_set() and time.monotonic() >= self.end_at

    def _rest(self, seconds: float) -> None:
        """Rest, until the end comes at most; after that as far as there is time, for another try."""
        if self.ended.is_set():
            time.sleep(max(0.0, min(seconds, self.end_at - time.monotonic())))
        else:
            self.ended.wait(seconds)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    return max(BACK_OFF(state), error.after if isinstance(error, NotDeliveredError) else 0.0)


@contextmanager
def _taken(connection: Database, name: str) -> Iterator[bool]:
    """Have the outbox until the end of the context, or of the connection; False where another has it."""
    if isinstance(connection, File):
        with file_session.take_outbox(connection.path) as ours:
            yield ours
    else:
        yield take_outbox(connection, name)
