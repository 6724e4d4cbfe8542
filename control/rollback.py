"""Takes a migration back: its stages in reverse, to just after one of them or to the very beginning."""

from dataclasses import replace
from functools import partial

from control import keeping, passage, roles
from control.conductor import IN_ORDER, Notify, as_begun, ground_of
from control.departures import forget
from control.plan.model import Plan
from control.stage import Ground, OneWay, Stage, Unworks
from control.stages.backfill import RESET
from control.status import stages_of
from control.steps import take
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection
from worker import assignments, ledger
from worker.broker import Doorbell


def rollback(
    plan: Plan,
    connection: Connection,
    *,
    to: str | None = None,
    keep_columns: bool = False,
    doorbell: Doorbell | None = None,
    notify: Notify,
) -> None:
    """Walk back to just after stage `to`, or to the very beginning. `connection` is a `controller`'s.

    With `keep_columns` the columns and indexes stay, and every row has the sentinel again: that is batched
    work, and needs workers and their `doorbell`.

    Raises:
        NoMigrationError: there is nothing to walk back.
        GivenWrongError: `to` is not done, or the plan has been edited.
        GateClosedError: a stage can't be undone any more, and says why; or the operator cancelled it.
    """
    migration = ledger.read(connection, plan.name)
    as_begun(plan, connection, migration)
    forget(ground_of(plan, connection, migration, notify), migration)
    if keep_columns and plan.separates:
        raise GivenWrongError(
            "--keep-columns is for tables that stay shared; `tenantry rollback --to backfill` keeps the "
            "columns with their tenants, and without --to everything goes"
        )
    states = passage.states(connection, migration.id)
    stages = stages_of(plan.tenant.isolation)
    begun = passage.begun_after(states, stages, to, keep=passage.KEPT[-1] if keep_columns else None)
    if "keys" in begun:
        # Copies stand beside their rows, and no old key can come back.
        assignments.none_half_way(connection, migration.id)
    for name in begun:
        stage = IN_ORDER[name]
        if isinstance(stage, OneWay):
            passage.let_in(name, stage.no_way_back(ground_of(plan, connection, migration, notify)))
    end = "the columns without tenants" if keep_columns else to or "the beginning"
    ground = replace(ground_of(plan, connection, migration, notify), doorbell=doorbell)
    passage.set_out_back(ground, end)
    for name in reversed(begun):
        with passage.undoing(ground, name):
            _undo(IN_ORDER[name], ground)
    if keep_columns:
        passage.keep_columns(ground, states, partial(keeping.keep_columns, ground))
    passage.come_back(ground, stages, to, end=end, keeps=keep_columns)


def _undo(stage: Stage, ground: Ground) -> None:
    if isinstance(stage, Unworks):
        stage.unwork(ground)
    take(stage.undo(ground.plan, ground.original), ground, stage.name)
    roles.admit_to_guard(ground.plan, ground.connection)  # put back where it was retired
    if stage.name == "columns":
        # The column comes again with its default in every row.
        ground.memory.remember(RESET, {})
