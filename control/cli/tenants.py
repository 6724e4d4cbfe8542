"""`tenants list`, `assign`, `enable`, `disable`: tenants one at a time."""

import sys
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Table

from control import conductor, watch
from control.cli.options import (
    DEFAULT_FILE,
    AsJson,
    File,
    connect_to_server,
    console,
    say,
    say_json,
)
from control.cli.staff import log_beside, staffed
from control.plan.reading import read_plan
from control.tenants import asking, listing, serving
from control.tenants.asking import Wish
from control.tenants.assigning import carry_out
from sql.errors import GivenWrongError
from sql.postgres.connection import resolve

tenants = typer.Typer(
    help="Tenants one at a time: who has what, whose rows go where, whom to serve.", no_args_is_help=True
)


@tenants.command("list")
def list_(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show every tenant: rows in each table, whether it is enabled, when it last wrote. Reads every row."""
    plan = read_plan(file)
    with connect_to_server(plan, "tenants") as connection:
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
    shown = console(as_json=as_json)
    with ExitStack() as house:
        connection = house.enter_context(conductor.controller(plan))
        ground = asking.ground(plan, connection)
        wish = (
            asking.last(ground)
            if undo
            else Wish(tenant or "", from_ or plan.tenant.legacy, where, tuple(table or ()))
        )
        begun = asking.under_way(ground, wish)
        if begun is None:
            found = asking.prospect(ground, wish)
            if not yes:
                _ask(wish, found.rows)
            begun = asking.begin(ground, found.family, wish)
        bell = house.enter_context(
            staffed(plan, connection, workers, house.enter_context(log_beside(shown, file)))
        )
        with watch.shown(resolve(plan.database.url.get_secret_value()), plan.name, shown) as notify:
            rows = carry_out(replace(ground, doorbell=bell, notify=notify), begun, throttle=not no_throttle)
    if as_json:
        say_json({"to": wish.to, "from": wish.from_, "rows": rows})
    else:
        told = ", ".join(f"{count:,} of {name}" for name, count in sorted(rows.items())) or "no rows"
        say(f"{told} went from {wish.from_} to {wish.to}; `tenantry tenants assign --undo` takes them back")


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
    with connect_to_server(plan, "tenants") as connection:
        say(serving.enable(connection, plan, tenant))


@tenants.command()
def disable(
    tenant: Annotated[list[str], typer.Argument(help="Whom it may treat so no more.")],
    file: File = DEFAULT_FILE,
) -> None:
    """Record that the application may treat tenants as migrated no more."""
    plan = read_plan(file)
    with connect_to_server(plan, "tenants") as connection:
        say(serving.disable(connection, plan, tenant))
