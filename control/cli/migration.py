"""`run`, `rollback`, `confirm`, `retry`: the migration itself."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from control import conductor, status
from control import rollback as way_back
from control.cli.options import (
    DEFAULT_FILE,
    AsJson,
    File,
    ToStage,
    a_stage,
    connect_to,
    console,
    say,
    say_json,
)
from control.cli.staff import log_beside, staffed
from control.course import actor
from control.notify.sender import delivering
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.sqlite import conductor as files
from control.status import LAST, stages_of_plan
from control.watch import follow
from control.watch.words import counted
from sql.database import Database
from sql.errors import GateClosedError, GivenWrongError
from worker import audit, jobs, ledger


def run(
    file: File = DEFAULT_FILE,
    *,
    to: ToStage = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Worker processes; 2, or none where the plan names a Redis."),
    ] = None,
    no_throttle: Annotated[bool, typer.Option("--no-throttle", help="As fast as it goes.")] = False,
    maintenance_window: Annotated[
        bool,
        typer.Option(
            "--maintenance-window",
            help="While the application is stopped: no throttle, no guard; refused while others are there.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Go through every open stage, and stop at the first gate that is closed."""
    plan = read_plan(file)
    end = a_stage(to, plan) if to is not None else None
    shown = console(as_json=as_json)
    if plan.on_file and workers is not None:
        raise GivenWrongError("a SQLite file has one writer at a time: leave --workers out")
    with ExitStack() as house:
        connection, go = _course(plan, house, workers, shown, file)
        house.enter_context(delivering(plan))
        try:
            with follow.shown(plan.database.url.get_secret_value(), plan.name, shown) as notify:
                go(
                    to=end,
                    throttle=not no_throttle,
                    maintenance_window=maintenance_window,
                    notify=notify,
                )
        except GateClosedError:
            _answer(connection, plan, as_json=as_json)
            raise
        _answer(connection, plan, as_json=as_json)
        if maintenance_window and end in {None, LAST} and not as_json:
            say("Every stage is done: test the new code once more, then resume the application")


def _course(
    plan: Plan, house: ExitStack, workers: int | None, shown: Console, file: Path
) -> tuple[Database, Callable[..., None]]:
    """A connection that has the migration, and what goes through its stages; workers, too, for a server."""
    if plan.on_file:
        opened = house.enter_context(files.controller(plan))
        house.enter_context(log_beside(shown, file))
        return opened, partial(files.run, plan, opened)
    connection = house.enter_context(conductor.controller(plan))
    log_to = house.enter_context(log_beside(shown, file))
    bell = house.enter_context(staffed(plan, connection, workers, log_to))
    return connection, partial(conductor.run, plan, connection, bell)


def _answer(connection: Database, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        say_json(status.read(connection, plan.name).model_dump(mode="json"))


def rollback(
    file: File = DEFAULT_FILE,
    *,
    to: ToStage = None,
    keep_columns: Annotated[
        bool,
        typer.Option("--keep-columns", help="Columns and indexes stay; every row is without a tenant again."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Walk back: to just after a stage, to the very beginning, or with the columns kept and emptied."""
    plan = read_plan(file)
    end = a_stage(to, plan) if to is not None else None
    if end is not None and keep_columns:
        raise GivenWrongError("--to and --keep-columns each say how far back; give one of them")
    shown = console(as_json=as_json)
    with ExitStack() as house:
        go = _way_back(plan, house, keep_columns=keep_columns, shown=shown, file=file)
        if not yes:
            _ask(plan, end, keep_columns=keep_columns)
        house.enter_context(delivering(plan))
        with follow.shown(plan.database.url.get_secret_value(), plan.name, shown) as notify:
            go(to=end, keep_columns=keep_columns, notify=notify)
    if as_json:
        say_json({"migration": plan.name, "rolled_back_to": end, "columns_kept": keep_columns})
    elif keep_columns:
        say(f"{plan.name} keeps its columns, without tenants, and its indexes")
    else:
        say(f"{plan.name} is {f'just after {end}' if end else 'as it was before it began'}")


def _way_back(
    plan: Plan, house: ExitStack, *, keep_columns: bool, shown: Console, file: Path
) -> Callable[..., None]:
    """What walks a migration back that is there; with workers, where rows of a server are written again.

    Raises:
        NoMigrationError: there is nothing to walk back.
    """
    if plan.on_file:
        opened = house.enter_context(files.controller(plan))
        status.read(opened, plan.name)
        return partial(files.rollback, plan, opened)
    connection = house.enter_context(conductor.controller(plan))
    status.read(connection, plan.name)
    bell = None
    if keep_columns:
        bell = house.enter_context(
            staffed(plan, connection, None, house.enter_context(log_beside(shown, file)))
        )
    return partial(way_back.rollback, plan, connection, doorbell=bell)


def _ask(plan: Plan, end: str | None, *, keep_columns: bool) -> None:
    if not sys.stdin.isatty():
        raise GivenWrongError("nobody is there to ask; --yes walks back without asking")
    stages = stages_of_plan(plan)
    undone = stages[stages.index("indexes" if keep_columns else end) + 1 if keep_columns or end else 0 :]
    loss = f" {plan.tenant.column} goes, with its values." if "columns" in undone else ""
    if keep_columns:
        loss = f" {plan.tenant.column} stays, its values go."
    typer.confirm(f"{plan.name}: undo {', '.join(reversed(undone))}?{loss}", abort=True)


def confirm(
    stage: Annotated[str, typer.Argument(help="backup, application or rls.", metavar="STAGE")],
    file: File = DEFAULT_FILE,
) -> None:
    """Vouch for what a stage waits for: `application` once the tenant-aware code is deployed everywhere."""
    plan = read_plan(file)
    with connect_to(plan, "confirm") as connection:
        conductor.confirm(plan, connection, stage)
    say(f"{stage} is confirmed; `tenantry run` goes on")


def retry(file: File = DEFAULT_FILE) -> None:
    """Let what is held go on once its cause is mended: quarantine, waiting batches, stopped backfills."""
    plan = read_plan(file)
    with connect_to(plan, "retry") as connection:
        migration = ledger.read(connection, plan.name)
        released = jobs.release(connection, migration.id)
        batches = counted(released.batches, "batch", "batches")
        told = f"{counted(released.rows, 'row')} out of quarantine, {batches} to be tried again"
        audit.record(connection, migration.id, actor(), "retry", told)
    say(f"{told}: at once where a run is active, else by `tenantry run`")
