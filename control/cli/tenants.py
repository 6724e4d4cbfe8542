"""`tenants list`, `assign`, `enable`, `disable`: tenants one at a time."""

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.console import Console
from rich.table import Table

from control import conductor
from control.cli.options import (
    DEFAULT_FILE,
    AsJson,
    File,
    connect_to,
    console,
    say,
    say_json,
)
from control.cli.staff import log_beside, staffed
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.sqlite import conductor as files
from control.sqlite.assignment import asking as file_asking
from control.sqlite.assignment.assigning import carry_out as carry_out_on_file
from control.sqlite.standings import standings as file_standings
from control.stage import Standing
from control.tenants import asking, listing, serving
from control.tenants.asking import Prospect, Wish
from control.tenants.assigning import carry_out
from control.watch import follow
from sql.errors import GivenWrongError
from sql.postgres.connection import Connection, resolve
from sql.sqlite.connection import File as SqliteFile
from worker import version
from worker.assignments import Assignment
from worker.broker import Doorbell

Notify = Callable[[str], None]


class Go(Protocol):
    """Carries an assignment out; how many rows it took from each table."""

    def __call__(self, notify: Notify, *, throttle: bool) -> dict[str, int]:
        """Take it to its end."""


tenants = typer.Typer(
    help="Tenants one at a time: who has what, whose rows go where, whom to serve.", no_args_is_help=True
)


@tenants.command("list")
def list_(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show every tenant: rows in each table, whether it is enabled, when it last wrote. Reads every row."""
    plan = read_plan(file)
    with connect_to(plan, "tenants") as connection:
        version.not_newer(connection)
        if isinstance(connection, SqliteFile):
            found = file_standings(connection, plan)
        else:
            found = listing.standings(connection, plan)
    if as_json:
        say_json([one.model_dump(mode="json") for one in found])
        return
    shown = Table()
    shown.add_column("tenant")
    for table in plan.tables:
        shown.add_column(table.name, justify="right")
    shown.add_column("enabled")
    shown.add_column("last activity")
    for one in found:
        shown.add_row(
            one.tenant or "(none yet)",
            *(f"{one.rows.get(table.name, 0):,}" for table in plan.tables),
            f"since {one.enabled_since:%Y-%m-%d %H:%M}" if one.enabled_since is not None else "",
            f"{one.last_activity:%Y-%m-%d %H:%M}" if one.last_activity is not None else "",
        )
    console().print(shown)


@tenants.command()
def assign(
    tenant: Annotated[str | None, typer.Argument(help="Who gets the rows.")] = None,
    file: File = DEFAULT_FILE,
    *,
    from_: Annotated[
        str | None, typer.Option("--from", help="Who has them; the plan's legacy tenant.", metavar="TENANT")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Which of them: SQL over the row.", metavar="CONDITION")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(help="What the condition is about; the tables at the top without it.", metavar="TABLE"),
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last one back instead.")] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Worker processes; 2, or none where the plan names a Redis."),
    ] = None,
    no_throttle: Annotated[bool, typer.Option("--no-throttle", help="As fast as it goes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let rows go from one tenant to another, in batches, with all that goes along with them."""
    plan = read_plan(file)
    if undo == (tenant is not None) or (undo and (from_ or where or table)):
        raise GivenWrongError("say who gets the rows and --where, or --undo alone")
    if not undo and where is None:
        raise GivenWrongError("say with --where which rows; --where true for all of them")
    if plan.on_file and workers is not None:
        raise GivenWrongError("a SQLite file has one writer at a time: leave --workers out")
    shown = console(as_json=as_json)
    asked = None if undo else Wish(tenant or "", from_ or plan.tenant.legacy, where, tuple(table or ()))
    with ExitStack() as house:
        if plan.on_file:
            wish, go = _on_file(house, plan, asked, yes=yes)
            house.enter_context(log_beside(shown, file))
        else:
            staff = partial(_staff, workers=workers, shown=shown, file=file)
            wish, go = _on_server(house, plan, asked, staff, yes=yes)
        with follow.shown(resolve(plan.database.url.get_secret_value()), plan.name, shown) as notify:
            rows = go(notify, throttle=not no_throttle)
    if as_json:
        say_json({"to": wish.to, "from": wish.from_, "rows": rows})
    else:
        told = ", ".join(f"{count:,} of {name}" for name, count in sorted(rows.items())) or "no rows"
        say(f"{told} went from {wish.from_} to {wish.to}; `tenantry tenants assign --undo` takes them back")


def _on_server(
    house: ExitStack,
    plan: Plan,
    asked: Wish | None,
    staff: Callable[[ExitStack, Plan, Connection], Doorbell],
    *,
    yes: bool,
) -> tuple[Wish, Go]:
    """What is wished for, on record by now, and what carries it out."""
    connection = house.enter_context(conductor.controller(plan))
    ground = asking.ground(plan, connection)
    wish = asked or asking.last(ground)
    begun = _begun(ground, wish, lambda: asking.prospect(ground, wish), yes=yes)
    bell = staff(house, plan, connection)

    def go(notify: Notify, *, throttle: bool) -> dict[str, int]:
        return carry_out(replace(ground, doorbell=bell, notify=notify), begun, throttle=throttle)

    return wish, go


def _staff(
    house: ExitStack, plan: Plan, connection: Connection, *, workers: int | None, shown: Console, file: Path
) -> Doorbell:
    log_to = house.enter_context(log_beside(shown, file))
    return house.enter_context(staffed(plan, connection, workers, log_to))


def _on_file(house: ExitStack, plan: Plan, asked: Wish | None, *, yes: bool) -> tuple[Wish, Go]:
    """The same for a SQLite file, where nobody works beside us."""
    opened = house.enter_context(files.controller(plan))
    ground = file_asking.ground(plan, opened)
    wish = asked or asking.last(ground)
    begun = _begun(ground, wish, lambda: file_asking.prospect(ground, wish), yes=yes)

    def go(notify: Notify, *, throttle: bool) -> dict[str, int]:
        return carry_out_on_file(replace(ground, notify=notify), begun, throttle=throttle)

    return wish, go


def _begun(ground: Standing, wish: Wish, look: Callable[[], Prospect], *, yes: bool) -> Assignment:
    """The assignment that was broken off, or a new one once the operator has seen what would go."""
    begun = asking.under_way(ground, wish)
    if begun is None:
        found = look()
        if not yes:
            _ask(wish, found.rows)
        begun = asking.begin(ground, found.family, wish)
    return begun


def _ask(wish: Wish, rows: dict[str, int]) -> None:
    if not sys.stdin.isatty():
        raise GivenWrongError("nobody is there to ask; --yes assigns without asking")
    told = ", ".join(f"{count:,} rows of {name}" for name, count in rows.items())
    typer.confirm(f"{told}: from {wish.from_} to {wish.to}?", abort=True)


@tenants.command()
def enable(
    tenant: Annotated[list[str], typer.Argument(help="Whom the application may treat as migrated.")],
    file: File = DEFAULT_FILE,
) -> None:
    """Record that the application may treat tenants as migrated; it asks `tenantry_tenants.enabled`."""
    plan = read_plan(file)
    with connect_to(plan, "tenants") as connection:
        say(serving.enable(connection, plan, tenant))


@tenants.command()
def disable(
    tenant: Annotated[list[str], typer.Argument(help="Whom it may treat so no more.")],
    file: File = DEFAULT_FILE,
) -> None:
    """Record that the application may treat tenants as migrated no more."""
    plan = read_plan(file)
    with connect_to(plan, "tenants") as connection:
        say(serving.disable(connection, plan, tenant))
