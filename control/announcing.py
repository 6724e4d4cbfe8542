"""What is announced: written into the audit, and by that into the outbox of the plan's webhook.

Each is written in one transaction with what it tells of, or by the controller that saw it, so that none is
lost when the controller dies, and none is told twice: what was told is read from the audit.
"""

import time
from dataclasses import dataclass
from typing import Any

from control.course import actor
from control.plan.notify import HELD_AFTER, Kind
from control.plan.values import seconds
from control.stage import Standing
from sql.database import Database
from sql.errors import CancelledError, GateClosedError, QuarantineError
from sql.ledger import JOBS, send
from worker import audit, ledger, outbox

#: Seconds between two announcements of rows that are set aside, after the first.
SET_ASIDE_EVERY = 60.0
#: Seconds that what is to go out is waited for before its ledger goes.
GRACE = 5.0
_LOOK_EVERY = 0.1

#: After one of these, of no stage or the same, a gate that is closed was closed anew.
_OPENED = ("stage", "failed", "confirm", "retry", "resume", "rollback", "amended")


def announce(
    ground: Standing,
    kind: Kind,
    message: str,
    *,
    stage: str | None = None,
    about: dict[str, Any] | None = None,
    connection: Database | None = None,
) -> None:
    """Write an announcement; `connection` where it isn't the ground's that writes."""
    notify = ground.plan.notify
    audit.record(
        connection or ground.connection,
        ground.migration,
        actor(),
        kind,
        message,
        stage=stage,
        about=about,
        due=notify is not None and kind in notify.on,
    )


def gate_closed(
    ground: Standing, connection: Database, stage: str, closed: GateClosedError, *, way: str = ""
) -> None:
    """Announce that a gate is closed, once: not again at a look that finds it as it was."""
    if isinstance(closed, CancelledError):
        return  # the operator's own word
    facts = list(closed.facts)
    if isinstance(closed, QuarantineError):
        count = set_aside(ground, connection, stage, at_once=True)
        # Keys and values of rows are for who may read them: `tenantry quarantine` has them.
        facts = [f"{count} row(s) in quarantine, `tenantry quarantine` lists them"] if count else facts
    last = outbox.last_told(connection, ground.migration, "gate", stage=stage, over=_OPENED)
    if last is not None and last.about.get("opens") == closed.opens:
        return
    announce(
        ground,
        "gate",
        f"{way}{stage} waits: {'; '.join(facts)}. {closed.opens}",
        stage=stage,
        about={"facts": facts, "opens": closed.opens},
        connection=connection,
    )


def set_aside(ground: Standing, connection: Database, stage: str, *, at_once: bool = False) -> int:
    """Announce how many rows are in quarantine where they are more than was told; now and then, or `at_once`.

    Returns how many they are.
    """
    count = int(send(connection, JOBS.count_quarantined, migration=ground.migration)[0]["count"])
    if not count:
        return 0
    last = outbox.last_told(connection, ground.migration, "quarantine", over=("retry", "rollback"))
    if last is None or (count > last.about["rows"] and (at_once or last.age >= SET_ASIDE_EVERY)):
        rows = "row is" if count == 1 else "rows are"
        told = f"{count:,} {rows} in quarantine; `tenantry quarantine` lists them"
        announce(ground, "quarantine", told, stage=stage, about={"rows": count}, connection=connection)
    return count


def finished(ground: Standing) -> None:
    """Announce that the migration is complete, unless nothing was done since that was said."""
    over = ("stage", "rollback")
    if outbox.last_told(ground.connection, ground.migration, "finished", over=over) is None:
        announce(ground, "finished", "every stage is done")


def emptied(ground: Standing, within: float) -> int:
    """Wait for so many seconds at most until all is out that is to go out; how many are not."""
    until = time.monotonic() + within
    while (left := outbox.outbox(ground.connection, ground.migration).due) and time.monotonic() < until:
        time.sleep(_LOOK_EVERY)
    return left


@dataclass(slots=True)
class Lookout:
    """Looks out, while a job is driven, for a hold that lasts and for rows that are set aside."""

    ground: Standing
    job: int
    stage: str = "backfill"
    _held_since: float | None = None
    _count_at: float = 0.0

    def look(self, *, held: bool) -> None:
        """Look once; `held` says whether no batch may go now. It is asked about twice a second."""
        now = time.monotonic()
        if not held:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = now
        elif now - self._held_since >= self._patience:
            self._tell_held()
            self._held_since = now  # it is asked again whether that was told: once it is over, perhaps not
        if now >= self._count_at and set_aside(self.ground, self.ground.connection, self.stage):
            self._count_at = now + SET_ASIDE_EVERY

    def paused(self) -> None:
        """Nobody holds: the operator said so."""
        self._held_since = None

    @property
    def _patience(self) -> float:
        notify = self.ground.plan.notify
        return seconds(HELD_AFTER) if notify is None else notify.held_after_seconds

    def _tell_held(self) -> None:
        connection, migration = self.ground.connection, self.ground.migration
        holding = ledger.holding(connection, migration)
        if not holding or outbox.held_told(connection, migration, self.job):
            return
        reason = holding[0].reason
        notify = self.ground.plan.notify
        told = f"no batch has gone for {HELD_AFTER if notify is None else notify.held_after}: {reason}"
        announce(self.ground, "held", told, stage=self.stage, about={"reason": reason})
