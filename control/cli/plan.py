"""`init`, `check`, `plan`: the plan, before anything is touched."""

from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from psycopg import conninfo
from rich.table import Table
from rich.text import Text

from control import conductor, dry_run
from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to_server, console, say, say_json
from control.plan.proposal import propose
from control.plan.reading import read_plan
from control.preflight.checklist import look
from control.preflight.estimate import Estimate, estimates
from control.render import duration
from sql.errors import GateClosedError, GivenWrongError
from sql.postgres.connection import connect, describe, resolve

#: `init` waits so long, in milliseconds, for the catalog of a table that somebody has locked; rows have a
#: limit of their own.
_CATALOG_LIMIT_MS = 30_000

#: What preflight says of a fact, as a mark and its style.
_MARKS = {"pass": ("✓", "green"), "warn": ("!", "yellow"), "stop": ("✗", "bold red")}


def init(
    file: File = DEFAULT_FILE,
    *,
    database: Annotated[
        str, typer.Option(help="Its address, without a password, or `env:NAME`.", metavar="URL")
    ] = "env:DATABASE_URL",
    force: Annotated[bool, typer.Option("--force", help="Write over a plan that is there.")] = False,
) -> None:
    """Write a plan from the database that it reads, for you to edit."""
    describe(resolve(database))
    if not database.startswith("env:") and conninfo.conninfo_to_dict(database).get("password"):
        raise GivenWrongError(
            "a password on the command line is there for every user of this machine to read; "
            "export the address as DATABASE_URL, and leave --database out"
        )
    if file.exists() and not force:
        raise GivenWrongError(f"{file} is there already; --force writes over it")
    with connect(database, "init", statement_timeout_ms=_CATALOG_LIMIT_MS) as connection:
        proposed = propose(connection, url=database)
    try:
        # x: somebody may have written one in the meantime.
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(proposed)
    except OSError as error:
        raise GivenWrongError(f"{file} can't be written: {error.strerror}") from None
    say(f"wrote {file}; look it over, then `tenantry check`")


def check(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Look at every fact that could stand in the way; nothing is changed."""
    read = read_plan(file)
    with connect_to_server(read, "check") as connection:
        ground = conductor.survey(read, connection, lambda _line: None)
        findings = look(ground)
        stops = [f"{finding.name}: {finding.fact}" for finding in findings if finding.level == "stop"]
        costs = [] if stops else estimates(ground)
    if as_json:
        say_json([asdict(finding) for finding in findings])
    else:
        shown = console()
        for finding in findings:
            mark, style = _MARKS[finding.level]
            line = Text(f"{mark} ", style=style) + Text(f"{finding.name}: {finding.fact}")
            shown.print(line, soft_wrap=True)
            if finding.way_out:
                shown.print(Text(f"  {finding.way_out}", style=style), soft_wrap=True)
        if costs:
            shown.print(_timeline(costs))
    if stops:
        raise GateClosedError("preflight", stops, "Mend that, then `tenantry check` again")


def plan(
    file: File = DEFAULT_FILE,
    *,
    sql: Annotated[bool, typer.Option("--sql", help="As a script for `psql -f`, on a copy.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every statement of a run with its lock; nothing is changed."""
    read = read_plan(file)
    with connect_to_server(read, "plan") as connection:
        ground = conductor.survey(read, connection, lambda _line: None)
        if sql:
            for line in dry_run.script(conductor.in_order(read), ground):
                say(line)
            return
        told = list(dry_run.statements(conductor.in_order(read), ground))
        costs = {cost.stage: cost for cost in estimates(ground)}
    if as_json:
        say_json(
            {
                "estimates": [asdict(cost) for cost in costs.values()],
                "statements": [asdict(one) for one in told],
            }
        )
        return
    shown = console()
    for stage, ones in groupby(told, key=lambda one: one.stage):
        shown.print(Text(stage, style="bold") + Text(_cost(costs.get(stage)), style="dim"))
        for one in ones:
            mark = Text("  ✓ " if one.done else "  · ", style="green" if one.done else "dim")
            shown.print(
                mark + Text(f"{one.what}  ") + Text(f"{one.lock}; {one.cost}", style="dim"), soft_wrap=True
            )
            if one.why:
                shown.print(Text(f"      {one.why}", style="dim"), soft_wrap=True)
            shown.print(Text(f"      {one.statement}", style="cyan"), soft_wrap=True)


def _timeline(costs: list[Estimate]) -> Table:
    table = Table(title="What each stage will cost, about", title_justify="left")
    table.add_column("stage")
    for name in ("time", "downtime", "WAL", "disk"):
        table.add_column(name, justify="right")
    table.add_column("locks")
    table.add_column("")
    for cost in costs:
        table.add_row(
            cost.stage,
            duration(cost.seconds),
            f"{cost.downtime * 1000:,.0f} ms",
            f"{cost.wal_bytes / 1e6:,.0f} MB",
            f"{cost.disk_bytes / 1e6:+,.0f} MB",
            cost.locks,
            "as rehearsed" if cost.rehearsed else "",
        )
    return table


def _cost(cost: Estimate | None) -> str:
    if cost is None:
        return ""
    return f"  about {duration(cost.seconds)}, {cost.wal_bytes / 1e6:,.0f} MB of WAL; {cost.locks}"
