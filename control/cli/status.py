"""`status`, `events`, `quarantine`: what the ledger knows."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from control import holds
from control import status as statuses
from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to, console, say_json
from control.plan.reading import read_plan
from control.watch import follow, full_screen
from control.watch.render import render
from control.watch.words import figures, held
from worker import audit, ledger
from worker.audit import Event

#: How many rows of the quarantine are shown.
_MOST = 1_000


def status(
    file: File = DEFAULT_FILE,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until it is complete; on a terminal with keys.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show where a migration stands."""
    plan, shown = read_plan(file), console()
    if watch and not as_json and full_screen.fits(shown):
        full_screen.watch(file, plan, shown)
        return
    with connect_to(plan, "status") as connection:
        first = statuses.read(connection, plan.name)
    if as_json:
        say_json(first.model_dump(mode="json"))
        return
    look = follow.Looker(plan.database.url.get_secret_value(), plan.name)
    try:
        if not watch:
            shown.print(render(look()))
            return
        follow.follow(look, shown, lambda seconds: _complete(look, seconds))
    finally:
        look.close()


def _complete(look: follow.Looker, seconds: float) -> bool:
    time.sleep(seconds)
    return look.last is not None and look.last.state == "complete"


def events(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show who did what, and when; of a statement its SQL, its lock, and how long it waited and took."""
    plan = read_plan(file)
    with connect_to(plan, "events") as connection:
        found = audit.events(connection, ledger.read(connection, plan.name).id)
    if as_json:
        say_json([event.model_dump(mode="json", exclude_none=True) for event in found])
        return
    shown = console()
    for event in found:
        when = Text(f"{event.at:%Y-%m-%d %H:%M:%S}  ", style="dim")
        who = Text(f"{event.actor}  ", style="cyan")
        shown.print(
            when + who + Text(f"{event.kind}  {event.message}{figures(event)}{_way(event)}"), soft_wrap=True
        )
        if event.statement is not None:
            shown.print(Text(f"    {' '.join(event.statement.split())}", style="dim"), soft_wrap=True)


def _way(event: Event) -> str:
    """How far an announcement got, where it is not there."""
    told = {"due": "not sent yet", "refused": "refused by the webhook", "given up": "not sent in a day"}
    if event.delivery is None or event.delivery == "sent":
        return ""
    return f" ({told[event.delivery]}{f': {event.delivery_error}' if event.delivery_error else ''})"


def quarantine(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Show what is held and why: rows set aside (at most 1,000), batches that wait, jobs that stopped."""
    plan = read_plan(file)
    with connect_to(plan, "quarantine") as connection:
        found = holds.read(connection, ledger.read(connection, plan.name).id, most=_MOST)
    if as_json:
        say_json(found.model_dump(mode="json"))
        return
    for line in held(found, datetime.now(UTC)):
        console().print(Text(line), soft_wrap=True)
