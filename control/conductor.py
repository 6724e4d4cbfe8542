"""Takes a migration through its stages in order, each behind its gate; and back again."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from control import locks, tuning
from control.cancelling import cancellable
from control.course import actor, go_on
from control.plan.begun import begun_with, changes
from control.plan.model import Plan
from control.plan.values import size
from control.stage import Closed, Ground, OneWay, Stage, Step, Unworks, Works
from control.stages import application, backfill, backup, columns, indexes, keys, preflight, rls, verify
from control.status import STAGES
from control.tuning import Tuned
from sql.errors import AnotherRunError, CatalogError, GateClosedError, GivenWrongError, TenantryError
from sql.postgres import catalog
from sql.postgres.catalog import Catalog
from sql.postgres.connection import Connection, connect, describe, resolve
from sql.postgres.session import take_migration
from worker import ledger
from worker.broker import Doorbell
from worker.governor.signals import standbys
from worker.ledger import Migration, Settings

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Notify = Callable[[str], None]

#: Where the ledger keeps what of the plan the migration was begun with.
MEMORY = "plan"

#: What an operator can vouch for.
CONFIRMABLE = ("backup", "application", "rls")

#: A module for each stage of `control.status`.
IN_ORDER: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        preflight.STAGE,
        backup.STAGE,
        columns.STAGE,
        backfill.STAGE,
        indexes.STAGE,
        application.STAGE,
        keys.STAGE,
        rls.STAGE,
        verify.STAGE,
    )
}


def settings_of(plan: Plan, *, throttle: bool, tuned: Tuned = tuning.NOTHING) -> Settings:
    """What the workers need of a plan, and of what is tuned in its place.

    Raises:
        GivenWrongError: they don't fit together.
    """
    plan = tuning.applied(plan, tuned)
    governor = plan.governor
    return Settings(
        target=plan.backfill.target_seconds,
        synchronous_commit=plan.backfill.synchronous_commit,
        throttle=throttle,
        limits=governor.limits(),
        unreadable=governor.unreadable,
        rows_per_second=governor.rows_per_second,
        wal_per_second=size(governor.wal_per_second) if governor.wal_per_second is not None else None,
        query=governor.query,
        active=plan.backfill.active,
        forget_standbys=governor.forget_standbys,
        workers=tuned.get(tuning.WORKERS),
    )


def watching(connection: Connection, settings: Settings, before: Sequence[str] = ()) -> Settings:
    """The settings with the standbys to miss once they are gone: what streams now, and what did `before`.

    Names may stand twice; of each there are as many as ever streamed at once.
    """
    now = Counter(standby.name for standby in standbys(connection) or ())
    kept = Counter(name for name in before if name not in settings.forget_standbys)
    return settings.model_copy(update={"standbys": tuple(sorted((now | kept).elements()))})


def look(connection: Connection, plan: Plan) -> Catalog:
    """The catalog of the plan's tables as it is.

    Raises:
        PlanError: a table of the plan is not there.
    """
    found = catalog.read(connection, [table.name for table in plan.tables])
    for at, table in enumerate(plan.tables):
        if table.name not in found.tables:
            raise plan.wrong(
                f"table {table.name} is not in this database; check its name and schema", "tables", at, "name"
            )
    return found


def survey(plan: Plan, connection: Connection, notify: Notify) -> Ground:
    """The ground of a dry run or a check: nothing is written, not even a ledger.

    A migration under way lends its original catalog and its memory.

    Raises:
        PlanError: a table of the plan is not there, or what the migration was begun with has been edited.
    """
    known = ledger.find(connection, plan.name)
    if known is not None:
        _as_begun(plan, connection, known)
        return _ground(plan, connection, known, notify, None)
    return Ground(plan, look(connection, plan), connection, _NoMemory(), notify=notify)


@dataclass(frozen=True, slots=True)
class _NoMemory:
    """The memory of a migration that has not begun."""

    def remember(self, key: str, value: dict[str, object]) -> None:
        """Keep nothing."""

    def recall(self, key: str) -> None:  # noqa: ARG002  # there is nothing under any key
        """Nothing is kept."""
        return


def _ground(
    plan: Plan, connection: Connection, migration: Migration, notify: Notify, doorbell: Doorbell | None
) -> Ground:
    confirmed = {
        name for name, stage in ledger.stages(connection, migration.id).items() if stage.confirmed_by
    }
    return Ground(
        plan=plan,
        original=Catalog.model_validate(migration.original),
        connection=connection,
        memory=ledger.Memory(connection, migration.id),
        confirmed=frozenset(confirmed),
        notify=notify,
        migration=migration.id,
        doorbell=doorbell,
    )


@contextmanager
def controller(plan: Plan) -> Iterator[Connection]:
    """A connection that has the migration for as long as the context lasts.

    Raises:
        AnotherRunError: another controller has it.
    """
    with connect(plan.database.url.get_secret_value(), "controller") as connection:
        holder = take_migration(connection, plan.name)
        if holder is not None:
            raise AnotherRunError(plan.name, holder)
        yield connection


def run(
    plan: Plan,
    connection: Connection,
    doorbell: Doorbell,
    *,
    to: str | None = None,
    throttle: bool = True,
    notify: Notify,
) -> None:
    """Go through every open stage, as far as `to` or the first closed gate. `connection` is a `controller`'s.

    Raises:
        GateClosedError: a stage must wait; what is done so far is on record.
        TenantryError: a stage failed.
    """
    migration = _begin(plan, connection, throttle=throttle)
    ledger.record(connection, migration.id, actor(), "run", f"to {to or 'the end'}")
    for name in STAGES[: STAGES.index(to) + 1 if to else None]:
        stage = IN_ORDER[name]
        record = ledger.stages(connection, migration.id).get(name)
        if record is not None and record.state == "done":
            continue
        with structlog.contextvars.bound_contextvars(migration=plan.name, stage=name):
            _go_through(stage, _ground(plan, connection, migration, notify, doorbell))
    if to is None or to == STAGES[-1]:
        # A word that came during the last stage's checks is not to be written over.
        go_on(_ground(plan, connection, migration, notify, doorbell), STAGES[-1])
        ledger.set_state(connection, migration.id, "complete")


def _as_begun(plan: Plan, connection: Connection, known: Migration) -> None:
    """Refuse a plan that says something else than what the stages so far were done by.

    Raises:
        PlanError: names the place, and how it was.
    """
    if set(known.tables) != {table.name for table in plan.tables}:
        raise GivenWrongError(
            f"migration {plan.name!r} was begun with the tables {', '.join(known.tables)}; "
            "finish it or roll it back, or give the plan another name"
        )
    kept = ledger.Memory(connection, known.id).recall(MEMORY) or {}
    stages = ledger.stages(connection, known.id).values()
    begun = {stage.name for stage in stages if stage.state != "open"}
    for change in changes(plan, kept, begun):
        raise plan.wrong(
            f"{change.what} was {change.was} when {plan.name!r} began, and so it is in the database; "
            "put it back as it was, or roll back with it first",
            *change.place,
        )


def _begin(plan: Plan, connection: Connection, *, throttle: bool) -> Migration:
    """Record the migration, or take it up again; preflight comes before the first thing is written."""
    names = [table.name for table in plan.tables]
    for standby in plan.database.standbys:
        describe(resolve(standby.get_secret_value()))  # said now, not before the first strong lock
    known = ledger.find(connection, plan.name)
    if known is None:
        # Its warnings are said by the stage itself, once they can be kept.
        ground = survey(plan, connection, lambda _line: None)
        preflight.STAGE.work(ground)
        ledger.create(connection)
        original = ground.original.model_dump(mode="json")
    else:
        _as_begun(plan, connection, known)
        if known.state in {"paused", "cancelled"}:
            back = "; `tenantry rollback` walks back" if known.state == "cancelled" else ""
            raise GateClosedError(
                "run", [f"the migration is {known.state}"], f"`tenantry resume` lets it go on{back}"
            )
        original = known.original
    with connection.transaction():
        # Held: what is tuned in this very moment would else be overwritten.
        tuned = ledger.hold(connection, plan.name).tuned if known is not None else {}
        settings = watching(
            connection,
            settings_of(plan, throttle=throttle, tuned=tuned),
            known.settings.standbys if known is not None else (),
        )
        begun = ledger.begin(connection, name=plan.name, tables=names, original=original, settings=settings)
        ledger.Memory(connection, begun.id).remember(MEMORY, begun_with(plan))
    return begun


def _go_through(stage: Stage, ground: Ground) -> None:
    connection, migration = ground.connection, ground.migration
    try:
        with cancellable(ground, stage.name):
            _open(stage, stage.gate(ground))
            ledger.set_stage(connection, migration, stage.name, "running")
            log.info("stage begun")
            for step in stage.steps(ground.plan, ground.original):
                _take(step, ground, stage.name)
            go_on(ground, stage.name)
            if isinstance(stage, Works):
                stage.work(ground)
    except GateClosedError as closed_gate:
        detail = f"{'; '.join(closed_gate.facts)}. {closed_gate.opens}"
        ledger.set_stage(connection, migration, stage.name, "waiting", detail)
        raise
    except TenantryError as error:
        ledger.set_stage(connection, migration, stage.name, "failed", str(error))
        ledger.record(connection, migration, actor(), "failed", f"{stage.name}: {error}")
        raise
    ledger.set_stage(connection, migration, stage.name, "done")
    ledger.record(connection, migration, actor(), "stage", f"{stage.name} done")
    log.info("stage done")


def _open(stage: Stage, closed: Closed | None) -> None:
    if closed is not None:
        raise GateClosedError(stage.name, list(closed.facts), closed.opens)


def _take(step: Step, ground: Ground, stage: str) -> None:
    """Take a step unless the catalog says that it is done, and see afterwards that it says so.

    Raises:
        CatalogError: the statement went through, and the catalog doesn't show it (lessons: pgroll#1014).
        CancelledError: the migration is cancelled.
    """
    go_on(ground, stage)
    if step.done(look(ground.connection, ground.plan)):
        return
    if step.gate is not None and not step.gate(ground):
        return
    ground.notify(step.what)
    locks.take(ground.connection, step, notify=ground.notify, rules=_rules(ground, stage))
    ledger.record(ground.connection, ground.migration, actor(), "statement", step.what)
    if not step.done(look(ground.connection, ground.plan)):
        raise CatalogError(
            f"{step.what}: done, and yet the catalog doesn't show it; look at the server's log"
        )


def _rules(ground: Ground, stage: str) -> locks.Rules:
    """How the plan wants locks to be taken; what is done to other sessions goes into the audit."""
    plan = ground.plan
    return locks.Rules(
        standbys=tuple(standby.get_secret_value() for standby in plan.database.standbys),
        terminate_after=plan.locks.terminate_after_seconds,
        record=lambda line: ledger.record(ground.connection, ground.migration, actor(), "terminate", line),
        go_on=lambda: go_on(ground, stage),
    )


def rollback(plan: Plan, connection: Connection, *, to: str | None = None, notify: Notify) -> None:
    """Walk back to just after stage `to`, or to the very beginning. `connection` is a `controller`'s.

    Raises:
        NoMigrationError: there is nothing to walk back.
        GivenWrongError: `to` is not done, or the plan has been edited.
        GateClosedError: a stage can't be undone any more, and says why.
    """
    migration = ledger.read(connection, plan.name)
    _as_begun(plan, connection, migration)
    states = {name: stage.state for name, stage in ledger.stages(connection, migration.id).items()}
    if to is not None and states.get(to) != "done":
        raise GivenWrongError(
            f"{to} is not done, so there is no way back to it; `tenantry status` shows what is"
        )
    keep = STAGES.index(to) + 1 if to else 0
    # Only what was begun: putting the guard back before there was a column failed every early way back.
    begun = [name for name in STAGES[keep:] if states.get(name, "open") != "open"]
    for name in begun:
        stage = IN_ORDER[name]
        if isinstance(stage, OneWay):
            _open(stage, stage.no_way_back(_ground(plan, connection, migration, notify, None)))
    ledger.set_state(connection, migration.id, "rolling back")
    ledger.record(connection, migration.id, actor(), "rollback", f"to {to or 'the beginning'}")
    for name in reversed(begun):
        stage = IN_ORDER[name]
        # No longer done from the first step on: a run after a way back that broke off goes through it again.
        ledger.set_stage(connection, migration.id, name, "running")
        ground = _ground(plan, connection, migration, notify, None)
        with structlog.contextvars.bound_contextvars(migration=plan.name, stage=name):
            if isinstance(stage, Unworks):
                stage.unwork(ground)
            for step in stage.undo(plan, ground.original):
                _take(step, ground, name)
            ledger.withdraw_confirmation(connection, migration.id, name)
            ledger.set_stage(connection, migration.id, name, "open")
            log.info("stage undone")
    if to is None:
        ledger.forget(connection, migration.id)
    else:
        ledger.set_state(connection, migration.id, "complete" if to == STAGES[-1] else "running")


def confirm(plan: Plan, connection: Connection, stage: str) -> None:
    """Record that the operator vouches for a stage.

    Raises:
        GivenWrongError: not a stage that waits for an operator's word.
        NoMigrationError: there is no such migration.
    """
    if stage not in CONFIRMABLE:
        raise GivenWrongError(f"{stage} is not confirmed by hand; {', '.join(CONFIRMABLE)} are")
    migration = ledger.read(connection, plan.name)
    ledger.confirm(connection, migration.id, stage, actor())
    ledger.record(connection, migration.id, actor(), "confirm", stage)
