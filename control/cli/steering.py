"""`pause`, `resume`, `cancel`, `tune`: what an operator says to a migration under way."""

from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from control import steering, tuning
from control.cli.options import DEFAULT_FILE, AsJson, File, connect_to, console, say, say_json
from control.conductor import settings_of
from control.plan.model import Plan
from control.plan.reading import read_plan
from worker import ledger
from worker.ledger import Migration


def pause(file: File = DEFAULT_FILE) -> None:
    """Let no further batch and no further step begin."""
    plan = read_plan(file)
    with connect_to(plan, "pause") as connection:
        steering.pause(plan, connection)
    say(f"{plan.name} is paused; `tenantry resume` lets it go on")


def resume(file: File = DEFAULT_FILE) -> None:
    """Let a migration go on that is paused or cancelled."""
    plan = read_plan(file)
    with connect_to(plan, "resume") as connection:
        steering.resume(plan, connection)
    say(
        f"{plan.name} goes on where a run or a way back is active, else with `tenantry run` or "
        "`tenantry rollback`"
    )


def cancel(file: File = DEFAULT_FILE) -> None:
    """End the run at once: a statement or dump is cut short, batches at hand end. Nothing is undone."""
    plan = read_plan(file)
    with connect_to(plan, "cancel") as connection:
        steering.cancel(plan, connection)
    say(
        f"{plan.name} is cancelled, and its run ends; `tenantry resume`, then `tenantry run` take it up "
        "again, `tenantry rollback` walks back"
    )


def tune(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            help="Keys of [governor]; target, active and synchronous_commit of [backfill]; and workers, the "
            "processes of the run's own pool and of each `tenantry worker`. KEY= gives the plan's own back.",
            metavar="KEY=VALUE…",
            show_default=False,
        ),
    ] = None,
    file: File = DEFAULT_FILE,
    *,
    as_json: AsJson = False,
) -> None:
    """Change limits and pace while it runs, or show them; reaches workers at their next batch."""
    plan = read_plan(file)
    given = tuning.read(settings or [])
    with connect_to(plan, "tune") as connection:
        found = steering.tune(plan, connection, given) if given else ledger.read(connection, plan.name)
    if as_json:
        in_force = found.settings.model_dump(mode="json")
        say_json({"migration": plan.name, "tuned": found.tuned, "in_force": in_force})
    elif given:
        for key in given:
            say(f"{key}: {_value(plan, found, key)}{'' if key in found.tuned else ', as the plan says'}")
    else:
        _show(plan, found)


def _value(plan: Plan, found: Migration, key: str) -> str:
    value: Any = found.tuned[key] if key in found.tuned else tuning.own(plan, key)
    return tuning.told(key, value)


def _show(plan: Plan, found: Migration) -> None:
    grid = Table.grid(padding=(0, 2))
    for key in tuning.KEYS:
        tuned = key in found.tuned
        plans = f"tuned; the plan says {tuning.told(key, tuning.own(plan, key))}" if tuned else ""
        style = "bold" if tuned else ""
        grid.add_row(Text(key, style), Text(_value(plan, found, key), style), Text(plans, "dim"))
    shown = console()
    shown.print(grid)
    if not found.settings.throttle:
        shown.print(Text("the run goes on without the governor: --no-throttle", "yellow"))
    fresh = settings_of(plan, throttle=found.settings.throttle, tuned=found.tuned)
    if fresh.model_copy(update={"standbys": found.settings.standbys}) != found.settings:
        shown.print(
            Text("the plan was edited since; it comes into force with the next `run` or `tune`", "yellow")
        )
