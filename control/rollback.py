"""Takes a migration back: its stages in reverse, to just after one of them or to the very beginning."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from control import keeping
from control.conductor import IN_ORDER, Notify, as_begun, ground_of, let_in
from control.course import actor, go_on
from control.departures import forget
from control.plan.model import Plan
from control.recording import recorded
from control.stage import Ground, OneWay, Stage, Unworks
from control.stages.backfill import RESET
from control.status import stages_of
from control.steps import take
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection
from worker import assignments, ledger
from worker.broker import Doorbell
from worker.ledger import StageState

log: structlog.stdlib.BoundLogger = structlog.get_logger()


#: After a way back that keeps the columns: what is left of these stages, and what may become of it.
KEPT = ("columns", "backfill", "indexes")
_KEPT = "kept by `tenantry rollback --keep-columns`, without tenants; `tenantry run` goes through it again"


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
    states = {name: stage.state for name, stage in ledger.stages(connection, migration.id).items()}
    if to is not None and states.get(to) != "done":
        raise GivenWrongError(
            f"{to} is not done, so there is no way back to it; `tenantry status` shows what is"
        )
    stages = stages_of(plan.tenant.isolation)
    if keep_columns and plan.separates:
        raise GivenWrongError(
            "--keep-columns is for tables that stay shared; `tenantry rollback --to backfill` keeps the "
            "columns with their tenants, and without --to everything goes"
        )
    keep = stages.index(KEPT[-1] if keep_columns else to) + 1 if keep_columns or to else 0
    # Only what was begun: putting the guard back before there was a column failed every early way back.
    begun = [name for name in stages[keep:] if states.get(name, "open") != "open"]
    if "keys" in begun:
        # Copies stand beside their rows, and no old key can come back.
        assignments.none_half_way(connection, migration.id)
    for name in begun:
        stage = IN_ORDER[name]
        if isinstance(stage, OneWay):
            let_in(stage, stage.no_way_back(ground_of(plan, connection, migration, notify)))
    end = "the columns without tenants" if keep_columns else to or "the beginning"
    ledger.set_state(connection, migration.id, "rolling back")
    ledger.record(connection, migration.id, actor(), "rollback", f"to {end}")
    ground = replace(ground_of(plan, connection, migration, notify), doorbell=doorbell)
    for name in reversed(begun):
        # No longer done from the first step on: a run after a way back that broke off goes through it again.
        ledger.set_stage(connection, migration.id, name, "running")
        with _on_record(ground, name):
            _undo(IN_ORDER[name], ground)
        ledger.withdraw_confirmation(connection, migration.id, name)
        ledger.set_stage(connection, migration.id, name, "open")
        log.info("stage undone", stage=name)
    if keep_columns:
        _keep_columns(ground, states)
    # A word that came during the last step is not to be written over.
    go_on(ground, stages[max(0, keep - 1)])
    if to is None and not keep_columns:
        ledger.forget(connection, migration.id)
    else:
        ledger.set_state(connection, migration.id, "complete" if to == stages[-1] else "running")


def _undo(stage: Stage, ground: Ground) -> None:
    if isinstance(stage, Unworks):
        stage.unwork(ground)
    take(stage.undo(ground.plan, ground.original), ground, stage.name)
    if stage.name == "columns":
        # The column comes again with its default in every row.
        ground.memory.remember(RESET, {})


def _keep_columns(ground: Ground, states: dict[str, StageState]) -> None:
    left = [name for name in KEPT if states.get(name, "open") != "open"]
    for name in left:
        ledger.set_stage(ground.connection, ground.migration, name, "running")
    if left:
        with _on_record(ground, "backfill"):
            keeping.keep_columns(ground)
    for name in left:
        ledger.set_stage(ground.connection, ground.migration, name, "waiting", _KEPT)


@contextmanager
def _on_record(ground: Ground, stage: str) -> Iterator[None]:
    with (
        structlog.contextvars.bound_contextvars(migration=ground.plan.name, stage=stage),
        recorded(ground, stage, way="on the way back: "),
    ):
        yield
