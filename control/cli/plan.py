"""`init`, `check`, `plan`: the plan, before anything is touched."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from itertools import groupby
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from control import conductor, dry_run
from control.cli.options import (
    DEFAULT_FILE,
    AsJson,
    File,
    address,
    connect_to_server,
    console,
    open_file,
    say,
    say_json,
)
from control.dry_run import Told
from control.plan.model import Plan
from control.plan.proposal import propose
from control.plan.reading import read_plan
from control.preflight import checklist, estimate
from control.preflight.estimate import Estimate
from control.preflight.finding import Finding
from control.sqlite import conductor as files
from control.sqlite import dry_run as dry_run_of_file
from control.sqlite.preflight import checklist as checklist_of_file
from control.sqlite.preflight import estimate as estimate_of_file
from control.watch.words import duration
from sql.database import connect
from sql.errors import GateClosedError, GivenWrongError

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
    address(database)
    if file.exists() and not force:
        raise GivenWrongError(f"{file} is there already; --force writes over it")
    with closing(connect(database, "init", statement_timeout_ms=_CATALOG_LIMIT_MS)) as connection:
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
    findings, costs = _looked(read_plan(file))
    stops = [f"{finding.name}: {finding.fact}" for finding in findings if finding.level == "stop"]
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
    sql: Annotated[
        bool, typer.Option("--sql", help="As a script for `psql -f`, or the sqlite3 shell, on a copy.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show every statement of a run with its lock; nothing is changed."""
    read = read_plan(file)
    if sql:
        with _script(read) as lines:
            for line in lines:
                say(line)
        return
    told, stages = _told(read)
    costs = {cost.stage: cost for cost in stages}
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


def _looked(read: Plan) -> tuple[list[Finding], list[Estimate]]:
    """What preflight finds; and what the stages cost, where nothing stops."""
    if read.on_file:
        with open_file(read) as opened:
            of_file = files.survey(read, opened, _say_nothing)
            findings = checklist_of_file.look(of_file)
            return findings, [] if _stops(findings) else estimate_of_file.estimates(of_file)
    with connect_to_server(read, "check") as connection:
        ground = conductor.survey(read, connection, _say_nothing)
        findings = checklist.look(ground)
        return findings, [] if _stops(findings) else estimate.estimates(ground)


def _stops(findings: list[Finding]) -> bool:
    return any(finding.level == "stop" for finding in findings)


def _told(read: Plan) -> tuple[list[Told], list[Estimate]]:
    """Every statement of a run, and what the stages cost."""
    if read.on_file:
        with open_file(read) as opened:
            of_file = files.survey(read, opened, _say_nothing)
            return list(dry_run_of_file.statements(of_file)), estimate_of_file.estimates(of_file)
    with connect_to_server(read, "plan") as connection:
        ground = conductor.survey(read, connection, _say_nothing)
        return list(dry_run.statements(conductor.in_order(read), ground)), estimate.estimates(ground)


@contextmanager
def _script(read: Plan) -> Iterator[Iterator[str]]:
    """The lines of a run as a script."""
    if read.on_file:
        with open_file(read) as opened:
            yield dry_run_of_file.script(files.survey(read, opened, _say_nothing))
        return
    with connect_to_server(read, "plan") as connection:
        ground = conductor.survey(read, connection, _say_nothing)
        yield dry_run.script(conductor.in_order(read), ground)


def _say_nothing(_line: str) -> None:
    """A look that nobody watches."""


def _timeline(costs: list[Estimate]) -> Table:
    table = Table(title="What each stage will cost, about", title_justify="left")
    table.add_column("stage")
    for name in ("time", "downtime", "WAL", "disk"):
        table.add_column(name, justify="right")
    table.add_column("locks")
    rehearsed = any(cost.rehearsed for cost in costs)
    if rehearsed:
        table.add_column("")
    for cost in costs:
        table.add_row(
            cost.stage,
            duration(cost.seconds),
            f"{cost.downtime * 1000:,.0f} ms",
            f"{cost.wal_bytes / 1e6:,.0f} MB",
            f"{cost.disk_bytes / 1e6:+,.0f} MB",
            cost.locks,
            *(["as rehearsed" if cost.rehearsed else ""] if rehearsed else []),
        )
    return table


def _cost(cost: Estimate | None) -> str:
    if cost is None:
        return ""
    return f"  about {duration(cost.seconds)}, {cost.wal_bytes / 1e6:,.0f} MB of WAL; {cost.locks}"
