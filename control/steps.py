"""Takes steps: unless the catalog says they are done, with an entry in the audit, and looks afterwards."""

from collections.abc import Iterable

import psycopg

from control import locks
from control.course import actor, go_on
from control.plan.model import Plan
from control.stage import Ground, Step
from sql.errors import CatalogError, DependentsError, TenantryError
from sql.postgres import catalog, on_demand
from sql.postgres.catalog import Catalog
from sql.postgres.connection import Connection
from worker import ledger


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
                f"table {table.name} is not in this database; check its name and schema", "tables", at, "name"
            )
    return found


def take(steps: Iterable[Step], ground: Ground, stage: str) -> None:
    """Take each step unless the catalog says that it is done, and see afterwards that it says so.

    Raises:
        CatalogError: a statement went through, and the catalog doesn't show it (lessons: pgroll#1014).
        CancelledError: the migration is cancelled.
    """
    live: Catalog | None = None
    for step in steps:
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
        _run_statement(step, ground, stage)
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
        ledger.record(ground.connection, ground.migration, actor(), "adopt", line)


def _run_statement(step: Step, ground: Ground, stage: str) -> None:
    """Run a step's statement, with an entry in the audit from before it to after it."""
    connection = ground.connection
    event = ledger.begin_statement(
        connection,
        ground.migration,
        actor(),
        stage=stage,
        what=step.what,
        statement=step.statement.as_string(),
        lock=step.lock,
    )
    try:
        taken = locks.take(connection, step, notify=ground.notify, rules=_rules(ground, stage))
    except psycopg.errors.DependentObjectsStillExist as error:
        detail = error.diag.message_detail or str(error.diag.message_primary)
        leaning = DependentsError(step.what, detail)
        ledger.end_statement(connection, event, error=str(leaning))
        raise leaning from None
    except TenantryError as error:
        ledger.end_statement(connection, event, error=str(error))
        raise
    ledger.end_statement(connection, event, attempts=taken.attempts, waited=taken.waited, took=taken.took)
    if step.repair is not None and taken.repaired:
        told = f"{step.what}: dropped what an earlier try left: {step.repair.statement.as_string()}"
        ledger.record(connection, ground.migration, actor(), "repair", told)


def _rules(ground: Ground, stage: str) -> locks.Rules:
    """How the plan wants locks to be taken; what is done to other sessions goes into the audit."""
    plan = ground.plan
    return locks.Rules(
        standbys=tuple(standby.get_secret_value() for standby in plan.database.standbys),
        terminate_after=plan.locks.terminate_after_seconds,
        record=lambda line: ledger.record(ground.connection, ground.migration, actor(), "terminate", line),
        go_on=lambda: go_on(ground, stage),
    )
