"""Takes a migration through its stages in order, each behind its gate; `control.rollback` takes it back."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from control import following, roles, tuning, window
from control.arrivals import taken_along
from control.course import actor, go_on
from control.departures import forget, left_out, without_departed
from control.keys import outside, views
from control.passage import begin, complete, let_in, open_stages, passing, states, unedited, unless_held
from control.plan.begun import KEPT_AS, begun_with
from control.plan.model import Plan
from control.plan.values import size
from control.stage import Amendable, Ground, NoMemory, Stage, Works
from control.stages import (
    application,
    backfill,
    backup,
    columns,
    indexes,
    keys,
    preflight,
    rls,
    schemas,
    switch,
    verify,
)
from control.status import stages_of
from control.steps import look, take
from control.tuning import Tuned
from sql.database import Database
from sql.errors import AnotherRunError, GivenWrongError
from sql.postgres import schemas as schema_tables
from sql.postgres.connection import Connection, connect, describe, resolve
from sql.postgres.facts import Catalog
from sql.postgres.session import leave_migration, take_migration
from worker import assignments, audit, ledger, version
from worker.broker import Doorbell
from worker.governor.history import are_primaries
from worker.governor.signals import standbys, timeline
from worker.ledger import Migration, Settings

Notify = Callable[[str], None]

#: What an operator can vouch for.
CONFIRMABLE = ("backup", "application", "rls")

#: A module for each stage of `control.status`, of either isolation.
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
        schemas.STAGE,
        switch.STAGE,
        verify.STAGE,
    )
}


def in_order(plan: Plan) -> list[Stage]:
    """The stages of a plan, in order."""
    return [IN_ORDER[name] for name in stages_of(plan.tenant.isolation)]


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


def watching(connection: Connection, settings: Settings, before: Settings | None = None) -> Settings:
    """The settings with the standbys to miss once they are gone: what streams now, and what did `before`.

    Names may stand twice; of each there are as many as ever streamed at once. Those that became the primary
    since are none of them.
    """
    now, here = Counter(standby.name for standby in standbys(connection) or ()), timeline(connection)
    kept, since = (Counter(before.standbys), before.timeline) if before is not None else (now, here)
    if are_primaries((kept - now).total(), since, here):
        kept, since = now, here
    missed = Counter(name for name in kept.elements() if name not in settings.forget_standbys)
    names = tuple(sorted((now | missed).elements()))
    return settings.model_copy(update={"standbys": names, "timeline": since})


def survey(plan: Plan, connection: Connection, notify: Notify) -> Ground:
    """The ground of a dry run or a check: nothing is written, not even a ledger.

    A migration under way lends its original catalog and its memory.

    Raises:
        PlanError: a table of the plan is not there, or what the migration was begun with has been edited.
    """
    known = ledger.find(connection, plan.name)
    if known is not None:
        as_begun(plan, connection, known)
        look(connection, plan)
        return ground_of(plan, connection, known, notify, None)
    return Ground(plan, look(connection, plan), connection, NoMemory(), notify=notify)


def ground_of(
    plan: Plan, connection: Connection, migration: Migration, notify: Notify, doorbell: Doorbell | None = None
) -> Ground:
    """What the stages of a migration on record stand on."""
    original = migration.before(Catalog)
    confirmed = {
        name for name, stage in ledger.stages(connection, migration.id).items() if stage.confirmed_by
    }
    before = views.as_they_are(connection, without_departed(original, plan))
    before = outside.as_they_are(connection, plan, before)
    return Ground(
        plan=plan,
        original=taken_along(connection, plan, before),
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
        LedgerVersionError: a later program upgraded the ledger.
    """
    with connect(plan.database.url.get_secret_value(), "controller") as connection:
        holder = take_migration(connection, plan.name)
        if holder is not None:
            raise AnotherRunError(plan.name, holder)
        version.upgrade(connection)
        yield connection
        # Not after an error: it may be the network's, and who asks there waits.
        leave_migration(connection, plan.name)


def run(
    plan: Plan,
    connection: Connection,
    doorbell: Doorbell,
    *,
    to: str | None = None,
    throttle: bool = True,
    maintenance_window: bool = False,
    notify: Notify,
) -> None:
    """Go through every open stage, as far as `to` or the first closed gate. `connection` is a `controller`'s.

    In a maintenance window nobody else may be at work on the tables, so there is no throttle and no guard.

    Raises:
        GateClosedError: a stage must wait; what is done so far is on record.
        AssignmentError: an assignment was broken off, and stages after the backfill wait for its end.
        TenantryError: a stage failed.
    """
    migration = _begin(plan, connection, throttle=throttle and not maintenance_window)
    alone = " in a maintenance window" if maintenance_window else ""
    audit.record(connection, migration.id, actor(), "run", f"to {to or 'the end'}{alone}")

    def ground() -> Ground:
        standing = ground_of(plan, connection, migration, notify, doorbell)
        return replace(standing, window=maintenance_window)

    forget(ground(), migration)
    window.settle(ground(), states(connection, migration.id))
    _reopen_amended(ground())
    stages = stages_of(plan.tenant.isolation)
    past = stages.index("backfill")
    for name in open_stages(connection, migration.id, stages, to):
        if stages.index(name) > past:
            assignments.none_half_way(connection, migration.id)
        _go_through(IN_ORDER[name], ground())
    if to is None or stages.index(to) > past:
        assignments.none_half_way(connection, migration.id)
    complete(ground(), stages, to)


def _reopen_amended(ground: Ground) -> None:
    """Open a stage again whose end the database doesn't show any more, and the last, which looks at all."""
    for name, was in ledger.stages(ground.connection, ground.migration).items():
        stage = IN_ORDER[name]
        if was.state != "done" or not isinstance(stage, Amendable) or not stage.amended(ground):
            continue
        ground.notify(f"{name}: the plan or the tables are not as it left them; it is gone through again")
        audit.record(ground.connection, ground.migration, actor(), "amended", name)
        if was.confirmed_at is not None and (was.finished_at is None or was.confirmed_at < was.finished_at):
            # The word was given for another plan; one that came since is for this.
            ledger.withdraw_confirmation(ground.connection, ground.migration, name)
        for again in (name, verify.STAGE.name):
            ledger.set_stage(ground.connection, ground.migration, again, "open")


def as_begun(plan: Plan, connection: Connection, known: Migration) -> None:
    """Refuse a plan that says something else than what the stages so far were done by.

    Raises:
        PlanError: names the place, and how it was.
    """
    departed = left_out(plan, connection, known)
    if set(known.tables) - set(departed) != {table.name for table in plan.tables}:
        raise GivenWrongError(
            f"migration {plan.name!r} was begun with the tables {', '.join(known.tables)}; "
            "finish it or roll it back, or give the plan another name; only a table that was dropped since "
            "may be left out"
        )
    unedited(plan, connection, known.id, "the database")


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
        version.create(connection)
        original = ground.original.model_dump(mode="json")
    else:
        as_begun(plan, connection, known)
        unless_held(known)
        original = known.before(Catalog).model_dump(mode="json")  # one that is garbled ends it here
    roles.admit(plan, connection)
    with connection.transaction():
        # Held: what is tuned in this very moment would else be overwritten.
        tuned = ledger.hold(connection, plan.name).tuned if known is not None else {}
        settings = watching(
            connection,
            settings_of(plan, throttle=throttle, tuned=tuned),
            known.settings if known is not None else None,
        )
        begun = ledger.begin(connection, name=plan.name, tables=names, original=original, settings=settings)
        ledger.Memory(connection, begun.id).remember(KEPT_AS, begun_with(plan))
    return begun


def _go_through(stage: Stage, ground: Ground) -> None:
    with passing(ground, stage.name):
        let_in(stage.name, stage.gate(ground))
        let_in(stage.name, window.occupied(ground, stage.name))
        begin(ground, stage.name)
        stages = stages_of(ground.plan.tenant.isolation)
        moving = not ground.plan.separates or not schema_tables.switched(ground.connection)
        if stages.index(stage.name) > stages.index("backfill") and moving:
            following.settle(ground, stage.name)
        take(window.steps(stage, ground), ground, stage.name)
        roles.admit_to_guard(ground.plan, ground.connection)
        go_on(ground, stage.name)
        if isinstance(stage, Works):
            stage.work(ground)


def confirm(plan: Plan, connection: Database, stage: str) -> None:
    """Record that the operator vouches for a stage.

    Raises:
        GivenWrongError: not a stage that waits for an operator's word.
        NoMigrationError: there is no such migration.
    """
    if stage not in CONFIRMABLE:
        raise GivenWrongError(f"{stage} is not confirmed by hand; {', '.join(CONFIRMABLE)} are")
    migration = ledger.read(connection, plan.name)
    ledger.confirm(connection, migration.id, stage, actor())
    audit.record(connection, migration.id, actor(), "confirm", stage)
