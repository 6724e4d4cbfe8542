"""Takes the migration of a SQLite file through its stages in order, each behind its gate, and back."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from control import passage
from control.conductor import settings_of
from control.course import actor, go_on
from control.plan.begun import KEPT_AS, begun_with
from control.plan.model import Plan
from control.sqlite import fitting, keeping, window
from control.sqlite.stage import Ground, Stage
from control.sqlite.stages import application, backfill, backup, columns, indexes, keys, preflight, verify
from control.sqlite.steps import look, patience, take
from control.stage import Amendable, NoMemory, OneWay, Unworks, Works
from control.status import FILE_STAGES
from control.window import settle
from sql.errors import AnotherRunError, GivenWrongError
from sql.postgres.connection import resolve
from sql.sqlite.connection import File, connect
from sql.sqlite.facts import Catalog
from sql.sqlite.failure import refused
from sql.sqlite.session import take_migrations
from worker import assignments, audit, ledger, version
from worker.ledger import Migration

Notify = Callable[[str], None]

#: What waits when the ledger can't be written, for whoever watches.
_LEDGER = "the ledger"

#: A module for each stage of `control.status.FILE_STAGES`.
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
        verify.STAGE,
    )
}


def survey(plan: Plan, file: File, notify: Notify) -> Ground:
    """The ground of a dry run or a check: nothing is written, not even a ledger.

    Raises:
        PlanError: a table of the plan is not there, what it says is not for a file, or it has been edited
            since the migration was begun with it.
    """
    fitting.check(plan)
    known = ledger.find(file, plan.name)
    if known is not None:
        as_begun(plan, file, known)
        look(file, plan)
        return ground_of(plan, file, known, notify)
    return Ground(plan, look(file, plan), file, NoMemory(), notify=notify)


def ground_of(plan: Plan, file: File, migration: Migration, notify: Notify) -> Ground:
    """What the stages of a migration on record stand on."""
    stages = ledger.stages(file, migration.id).items()
    return Ground(
        plan=plan,
        original=migration.before(Catalog),
        connection=file,
        memory=ledger.Memory(file, migration.id),
        confirmed=frozenset(name for name, stage in stages if stage.confirmed_by),
        notify=notify,
        migration=migration.id,
    )


@contextmanager
def controller(plan: Plan) -> Iterator[File]:
    """A connection that has the file's migrations for as long as the context lasts.

    Raises:
        AnotherRunError: another controller has them.
        UnreachableError: no such file, or it is no database.
        LedgerVersionError: a later program upgraded the ledger.
    """
    with connect(resolve(plan.database.url.get_secret_value())) as file, take_migrations(file.path) as holder:
        if holder is not None:
            raise AnotherRunError(plan.name, holder)
        version.upgrade(file)
        yield file


def run(
    plan: Plan,
    file: File,
    *,
    to: str | None = None,
    throttle: bool = True,
    maintenance_window: bool = False,
    notify: Notify,
) -> None:
    """Go through every open stage, as far as `to` or the first closed gate. `file` is a `controller`'s.

    In a maintenance window nobody else may have the file open, so there is no throttle and no guard.

    Raises:
        GateClosedError: a stage must wait; what is done so far is on record.
        TenantryError: a stage failed.
    """
    file.patience = patience(notify, _LEDGER)
    migration = _begin(plan, file, throttle=throttle and not maintenance_window)
    alone = " in a maintenance window" if maintenance_window else ""
    audit.record(file, migration.id, actor(), "run", f"to {to or 'the end'}{alone}")
    ledger.clear_held(file, migration.id)

    def ground() -> Ground:
        return replace(ground_of(plan, file, migration, notify), window=maintenance_window)

    settle(ground(), passage.states(file, migration.id))
    _reopen_amended(ground())
    past = FILE_STAGES.index("backfill")
    for name in passage.open_stages(file, migration.id, FILE_STAGES, to):
        if FILE_STAGES.index(name) > past:
            assignments.none_half_way(file, migration.id)
        _go_through(IN_ORDER[name], ground())
    if to is None or FILE_STAGES.index(to) > past:
        assignments.none_half_way(file, migration.id)
    passage.complete(ground(), FILE_STAGES, to)


def _begin(plan: Plan, file: File, *, throttle: bool) -> Migration:
    """Record the migration, or take it up again; preflight comes before the first thing is written."""
    fitting.check(plan)
    known = ledger.find(file, plan.name)
    if known is None:
        # Its warnings are said by the stage itself, once they can be kept.
        ground = survey(plan, file, lambda _line: None)
        preflight.STAGE.work(ground)
        version.create(file)
        original = ground.original.model_dump(mode="json")
    else:
        as_begun(plan, file, known)
        passage.unless_held(known)
        original = known.before(Catalog).model_dump(mode="json")  # one that is garbled ends it here
    with file.transaction():
        # Held: what is tuned in this very moment would else be overwritten.
        tuned = ledger.hold(file, plan.name).tuned if known is not None else {}
        begun = ledger.begin(
            file,
            name=plan.name,
            tables=[table.name for table in plan.tables],
            original=original,
            settings=settings_of(plan, throttle=throttle, tuned=tuned),
        )
        ledger.Memory(file, begun.id).remember(KEPT_AS, begun_with(plan))
    return begun


def as_begun(plan: Plan, file: File, known: Migration) -> None:
    """Refuse a plan that says something else than what the stages so far were done by.

    Raises:
        PlanError: names the place, and how it was.
    """
    if set(known.tables) != {table.name for table in plan.tables}:
        raise GivenWrongError(
            f"migration {plan.name!r} was begun with the tables {', '.join(known.tables)}; "
            "finish it or roll it back, or give the plan another name"
        )
    passage.unedited(plan, file, known.id, "the file")


def _reopen_amended(ground: Ground) -> None:
    """Open a stage again whose end the file doesn't show any more, and the last, which looks at all.

    Raises:
        GivenWrongError: a column that a stage has worked by is not there any more.
    """
    for name, was in ledger.stages(ground.connection, ground.migration).items():
        stage = IN_ORDER[name]
        if was.state != "done" or not isinstance(stage, Amendable) or not _is_amended(stage, ground):
            continue
        ground.notify(f"{name}: the tables are not as it left them; it is gone through again")
        audit.record(ground.connection, ground.migration, actor(), "amended", name)
        for again in (name, verify.STAGE.name):
            ledger.set_stage(ground.connection, ground.migration, again, "open")


def _is_amended(stage: Amendable[Ground], ground: Ground) -> bool:
    try:
        return stage.amended(ground)
    except sqlite3.Error as error:
        gone = list(_gone(ground))
        if not gone:
            raise refused("what was done before", error) from error
        raise GivenWrongError(
            f"{error}: {', '.join(gone)} is gone, or has another name now: bring it back under its own, "
            "and rename or drop it once the migration is finished or rolled back"
        ) from error


def _gone(ground: Ground) -> Iterator[str]:
    """What is not there any more of the columns of before and those with the tenants."""
    live = look(ground.connection, ground.plan)
    for table in ground.plan.tables:
        before = [column.name for column in ground.original.table(table.name).columns]
        for name in dict.fromkeys((*before, ground.plan.tenant.column)):
            if live.table(table.name).column(name) is None:
                yield f"{table.name}.{name}"


def _go_through(stage: Stage, ground: Ground) -> None:
    with passage.passing(ground, stage.name):
        passage.let_in(stage.name, window.occupied(ground, stage.name))
        passage.let_in(stage.name, stage.gate(ground))
        passage.begin(ground, stage.name)
        take(window.steps(stage, ground), ground, stage.name)
        go_on(ground, stage.name)
        if isinstance(stage, Works):
            stage.work(ground)


def rollback(
    plan: Plan, file: File, *, to: str | None = None, keep_columns: bool = False, notify: Notify
) -> None:
    """Walk back to just after stage `to`, or to the very beginning. `file` is a `controller`'s.

    Raises:
        NoMigrationError: there is nothing to walk back.
        GivenWrongError: `to` is not done, or the plan has been edited.
        GateClosedError: a stage can't be undone any more, and says why; or the operator cancelled it.
    """
    file.patience = patience(notify, _LEDGER)
    migration = ledger.read(file, plan.name)
    as_begun(plan, file, migration)
    states = passage.states(file, migration.id)
    begun = passage.begun_after(states, FILE_STAGES, to, keep=passage.KEPT[-1] if keep_columns else None)
    ground = ground_of(plan, file, migration, notify)
    for name in begun:
        stage = IN_ORDER[name]
        if isinstance(stage, OneWay):
            passage.let_in(name, stage.no_way_back(ground))
    end = "the columns without tenants" if keep_columns else to or "the beginning"
    passage.set_out_back(ground, end)
    for name in reversed(begun):
        with passage.undoing(ground, name):
            stage = IN_ORDER[name]
            if isinstance(stage, Unworks):
                stage.unwork(ground)
            take(stage.undo(plan, ground.original), ground, name)
    if keep_columns:
        passage.keep_columns(ground, states, partial(keeping.keep_columns, ground))
    passage.come_back(ground, FILE_STAGES, to, end=end, keeps=keep_columns)
