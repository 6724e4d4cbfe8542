"""`roles`: what each process's login has to be granted, and the script that grants it."""

from typing import Annotated

import typer
from rich.text import Text

from control import roles as granting
from control.cli.options import DEFAULT_FILE, File, connect_to_server, console, say
from control.plan.reading import read_plan
from sql.errors import GivenWrongError


def roles(
    file: File = DEFAULT_FILE,
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="As a script for `psql -f`, for whoever may make roles.")
    ] = False,
    assign: Annotated[
        bool,
        typer.Option("--assign", help="With what `tenants assign` needs after `keys`: INSERT and DELETE."),
    ] = False,
) -> None:
    """Show what controller, workers and exporter have to be granted, and why; nothing is changed."""
    plan = read_plan(file)
    if plan.on_file:
        raise GivenWrongError("a SQLite file has no roles: whoever may write the file may do everything")
    with connect_to_server(plan, "roles") as connection:
        found = granting.grants(plan, connection, assign=assign)
        writable = granting.writable_schemas(plan, connection) if sql else []
    if sql:
        for line in granting.script(plan, found, writable):
            say(line)
        return
    shown = console()
    for grant in found:
        shown.print(
            Text(f"{grant.who}: ", "bold")
            + Text(" ".join(grant.said.split()))
            + Text(f"  {grant.why}", "dim"),
            soft_wrap=True,
        )
