"""How a migration goes through a stage and back, whichever database it is in: what stands in the ledger."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from control import announcing, measured
from control.course import actor, go_on
from control.plan.begun import KEPT_AS, changes
from control.plan.model import Plan
from control.recording import recorded
from control.stage import Closed, Standing
from sql.database import Database
from sql.errors import GateClosedError, GivenWrongError
from worker import audit, ledger
from worker.ledger import Migration, MigrationState, StageState

log: structlog.stdlib.BoundLogger = structlog.get_logger()


#: After a way back that keeps the columns: what is left of these stages, and what may become of it.
KEPT = ("columns", "backfill", "indexes")
_KEPT = "kept by `tenantry rollback --keep-columns`, without tenants; `tenantry run` goes through it again"


def let_in(stage: str, closed: Closed | None) -> None:
    """Nothing, where the gate is open.

    Raises:
        GateClosedError: it is closed.
    """
    if closed is not None:
        raise GateClosedError(stage, list(closed.facts), closed.opens)


def unless_held(migration: Migration) -> None:
    """Nothing, where a run may begin.

    Raises:
        GateClosedError: the migration is paused or cancelled.
    """
    if migration.state in {"paused", "cancelled"}:
        back = "; `tenantry rollback` walks back" if migration.state == "cancelled" else ""
        raise GateClosedError(
            "run", [f"the migration is {migration.state}"], f"`tenantry resume` lets it go on{back}"
        )


def unedited(plan: Plan, connection: Database, migration: int, place: str) -> None:
    """Nothing, where the plan says what the stages so far were done by; `place` is what they were done to.

    Raises:
        PlanError: names the place in the plan, and how it was.
    """
    kept = ledger.Memory(connection, migration).recall(KEPT_AS) or {}
    begun = {name for name, state in states(connection, migration).items() if state != "open"}
    for change in changes(plan, kept, begun):
        raise plan.wrong(
            f"{change.what} was {change.was} when {plan.name!r} began, and so it is in {place}; "
            "put it back as it was, or roll back with it first",
            *change.place,
        )


def open_stages(connection: Database, migration: int, stages: Sequence[str], to: str | None) -> Iterator[str]:
    """The stages as far as `to` that are not done, in order; each is looked at when its turn comes."""
    for name in stages[: stages.index(to) + 1 if to else None]:
        record = ledger.stages(connection, migration).get(name)
        if record is None or record.state != "done":
            yield name


@contextmanager
def passing(ground: Standing, stage: str) -> Iterator[None]:
    """Go through a stage in the body: done on record after it, or waiting, or failed.

    Raises:
        TenantryError: what the body raised.
    """
    with structlog.contextvars.bound_contextvars(migration=ground.plan.name, stage=stage):
        with recorded(ground, stage):
            yield
            measured.done(ground, stage)
        with ground.connection.transaction():
            ledger.set_stage(ground.connection, ground.migration, stage, "done")
            announcing.announce(ground, "stage", f"{stage} done", stage=stage)
        log.info("stage done")


def begin(ground: Standing, stage: str) -> None:
    """Record that a stage's gate was open, and that it is at work."""
    ledger.set_stage(ground.connection, ground.migration, stage, "running")
    measured.begun(ground, stage)
    log.info("stage begun")


def complete(ground: Standing, stages: Sequence[str], to: str | None) -> None:
    """Record the end of the migration, where the last stage is done."""
    if to is None or to == stages[-1]:
        # A word that came during the last stage's checks is not to be written over.
        go_on(ground, stages[-1])
        with ground.connection.transaction():
            ledger.set_state(ground.connection, ground.migration, "complete")
            announcing.finished(ground)


def states(connection: Database, migration: int) -> dict[str, StageState]:
    """The state of each stage that has one."""
    return {name: stage.state for name, stage in ledger.stages(connection, migration).items()}


def begun_after(
    begun: Mapping[str, StageState], stages: Sequence[str], to: str | None, *, keep: str | None = None
) -> list[str]:
    """The stages to undo, in the order in which they were done: those begun after `to`, or after `keep`.

    Raises:
        GivenWrongError: `to` is not done.
    """
    if to is not None and begun.get(to) != "done":
        raise GivenWrongError(
            f"{to} is not done, so there is no way back to it; `tenantry status` shows what is"
        )
    last = keep or to
    # Only what was begun: putting the guard back before there was a column failed every early way back.
    return [
        name for name in stages[stages.index(last) + 1 if last else 0 :] if begun.get(name, "open") != "open"
    ]


@contextmanager
def undoing(ground: Standing, stage: str) -> Iterator[None]:
    """Undo a stage in the body: open again after it, and without its confirmation.

    Raises:
        TenantryError: what the body raised.
    """
    # No longer done from the first step on: a run after a way back that broke off goes through it again.
    ledger.set_stage(ground.connection, ground.migration, stage, "running")
    with on_the_way_back(ground, stage):
        yield
    ledger.withdraw_confirmation(ground.connection, ground.migration, stage)
    measured.forget(ground, stage)
    ledger.set_stage(ground.connection, ground.migration, stage, "open")
    log.info("stage undone", stage=stage)


@contextmanager
def on_the_way_back(ground: Standing, stage: str) -> Iterator[None]:
    """Keep on record how the body ends, where it doesn't come to its end."""
    with (
        structlog.contextvars.bound_contextvars(migration=ground.plan.name, stage=stage),
        recorded(ground, stage, way="on the way back: "),
    ):
        yield


def keep_columns(ground: Standing, begun: Mapping[str, StageState], keep: Callable[[], None]) -> None:
    """Keep what is left of the first stages, with `keep` putting the sentinel back into every row.

    Raises:
        TenantryError: what `keep` raised.
    """
    left = [name for name in KEPT if begun.get(name, "open") != "open"]
    for name in left:
        ledger.set_stage(ground.connection, ground.migration, name, "running")
    if left:
        with on_the_way_back(ground, "backfill"):
            keep()
    for name in left:
        ledger.set_stage(ground.connection, ground.migration, name, "waiting", _KEPT)


def set_out_back(ground: Standing, end: str) -> None:
    """Record that the way back begins, and where it is to end."""
    ledger.set_state(ground.connection, ground.migration, "rolling back")
    audit.record(ground.connection, ground.migration, actor(), "rollback", f"to {end}")


def come_back(ground: Standing, stages: Sequence[str], to: str | None, *, end: str, keeps: bool) -> None:
    """Record that the way back is at its end; with the very beginning the ledger goes too."""
    # A word that came during the last step is not to be written over.
    go_on(ground, KEPT[-1] if keeps else to or stages[0])
    forgets = to is None and not keeps
    with ground.connection.transaction():
        if not forgets:
            state: MigrationState = "complete" if to == stages[-1] else "running"
            ledger.set_state(ground.connection, ground.migration, state)
        announcing.announce(ground, "rolled back", f"back to {end}")
    if forgets:
        if left := announcing.emptied(ground, announcing.GRACE):
            ground.notify(f"{left} notification(s) could not be delivered, and go with the ledger")
        ledger.forget(ground.connection, ground.migration)
