"""Takes steps: unless the catalog says they are done, with an entry in the audit, and looks afterwards."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby

import psycopg

from control import locks
from control.course import actor, go_on
from control.lanes import side_by_side
from control.plan.model import Plan
from control.stage import Ground, Lane, Step
from sql.errors import CatalogError, DependentsError, TenantryError
from sql.postgres import catalog, on_demand
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from worker import audit


def look(connection: Connection, plan: Plan) -> Catalog:
    """The catalog of the plan's tables as it is.

    Raises:
        PlanError: a table of the plan is not there.
    """
    return _whole(catalog.read(connection, [table.name for table in plan.tables]), plan)


def _look(ground: Ground) -> Catalog:
    """The same until the next statement: of its tables only those are read that somebody asks about."""
    names = [table.name for table in ground.plan.tables]
    return _whole(on_demand.look(ground.connection, names), ground.plan)


def _whole(found: Catalog, plan: Plan) -> Catalog:
    for at, table in enumerate(plan.tables):
        if table.name not in found.tables:
            raise plan.wrong(
                f"table {table.name} is not in this database; check its name and schema, or leave it out of "
                "the plan if it was dropped since the migration began",
                "tables",
                at,
                "name",
            )
    return found


def _nobody_else() -> None:
    """Asked by steps that nothing is done beside."""


def take(steps: Iterable[Step], ground: Ground, stage: str) -> None:
    """Take each step unless the catalog says that it is done, and see afterwards that it says so.

    Raises:
        CatalogError: a statement went through, and the catalog doesn't show it (lessons: pgroll#1014).
        CancelledError: the migration is cancelled.
    """
    for group, together in groupby(steps, key=lambda step: step.lane and step.lane.group):
        if group is None:
            _one_by_one(together, ground, stage)
        else:
            _in_lanes(list(together), ground, stage)


def _in_lanes(steps: Sequence[Step], ground: Ground, stage: str) -> None:
    """The steps of each table that has any left beside the others', the biggest table first."""
    live = _look(ground)
    lanes: dict[Lane | None, list[Step]] = {}
    for step in steps:
        lanes.setdefault(step.lane, []).append(step)
    open_ones = [lane for lane in lanes if lane and not all(step.done(live) for step in lanes[lane])]
    at_once = ground.plan.indexes.tables_at_once
    if at_once == 1 or len(open_ones) < 2:  # one table has nothing beside it
        _one_by_one(steps, ground, stage)
        return
    _one_by_one((step for step in steps if step.lane not in open_ones), ground, stage)
    open_ones.sort(key=lambda lane: ground.original.table(lane.table).rows, reverse=True)
    side_by_side([partial(_one_lane, lanes[lane], stage) for lane in open_ones], ground, at_once)


def _one_lane(steps: Iterable[Step], stage: str, ground: Ground, beside: Callable[[], None]) -> None:
    _one_by_one(steps, ground, stage, beside)


def _one_by_one(
    steps: Iterable[Step], ground: Ground, stage: str, beside: Callable[[], None] = _nobody_else
) -> None:
    live: Catalog | None = None
    for step in steps:
        beside()
        # What was seen after the last statement is there before the next, unless a pause came between.
        if go_on(ground, stage) or live is None:
            live = _look(ground)
        if step.done(live):
            _tell_instead(step, live, ground)
            continue
        if step.gate is not None and not step.gate(ground):
            live = None  # the gate may have waited for long
            continue
        ground.notify(step.what)
        _run_statement(step, ground, stage, beside)
        live = _look(ground)
        if not step.done(live):
            raise CatalogError(
                f"{step.what}: done, and yet the catalog doesn't show it; look at the server's log"
            )


def _tell_instead(step: Step, live: Catalog, ground: Ground) -> None:
    """Say what serves in the place of a step, and keep that on record."""
    line = step.instead(live) if step.instead is not None else None
    if line is not None:
        ground.notify(line)
        audit.record(ground.connection, ground.migration, actor(), "adopt", line)


def _run_statement(step: Step, ground: Ground, stage: str, beside: Callable[[], None]) -> None:
    """Run a step's statement, with an entry in the audit from before it to after it."""
    connection = ground.connection
    event = audit.begin_statement(
        connection,
        ground.migration,
        actor(),
        stage=stage,
        what=step.what,
        statement=step.statement.as_string(),
        lock=step.lock,
    )
    try:
        taken = locks.take(connection, step, notify=ground.notify, rules=_rules(ground, stage, beside))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = error.diag.message_detail or str(error.diag.message_primary)
        leaning = DependentsError(step.what, detail)
        audit.end_statement(connection, event, error=str(leaning))
        raise leaning from None
    except (psycopg.Error, TenantryError) as error:
        if not connection.broken:
            audit.end_statement(connection, event, error=str(error))
        raise
    audit.end_statement(connection, event, attempts=taken.attempts, waited=taken.waited, took=taken.took)
    if step.repair is not None and taken.repaired:
        told = f"{step.what}: dropped what an earlier try left: {step.repair.statement.as_string()}"
        audit.record(connection, ground.migration, actor(), "repair", told)


def _rules(ground: Ground, stage: str, beside: Callable[[], None]) -> locks.Rules:
    """How the plan wants locks to be taken; what is done to other sessions goes into the audit."""
    plan = ground.plan

    def may_go_on() -> None:
        beside()
        go_on(ground, stage)

    return locks.Rules(
        standbys=tuple(standby.get_secret_value() for standby in plan.database.standbys),
        terminate_after=plan.locks.terminate_after_seconds,
        record=lambda line: audit.record(ground.connection, ground.migration, actor(), "terminate", line),
        go_on=may_go_on,
    )
