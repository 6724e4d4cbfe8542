"""`run`, `rollback`, `confirm`, `retry`: the migration itself."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console

from control import conductor, status, watch
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
from control.course import actor
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.queue import namespace_of, queue_of
from control.render import counted
from control.resizing import resized
from control.status import STAGES
from control.worker_pool import workers as worker_processes
from sql.errors import GateClosedError, GivenWrongError
from sql.postgres.connection import Connection, resolve
from worker import jobs, ledger, logs
from worker.broker import doorbell

#: Worker processes that a run starts by itself: two fill a table three times as fast as one UPDATE (design,
#: section 4), and leave a server of few cores to the application.
WORKERS = 2


def run(
    file: File = DEFAULT_FILE,
    *,
    to: ToStage = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=64, help="Worker processes; 2, or none where the plan names a Redis."),
    ] = None,
    no_throttle: Annotated[bool, typer.Option("--no-throttle", help="As fast as it goes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go through every open stage, and stop at the first gate that is closed."""
    plan = read_plan(file)
    end = a_stage(to) if to is not None else None
    # With a Redis of the operator's, workers are services elsewhere: tuning them starts none here.
    own_pool = workers is not None or plan.redis is None
    count = workers if workers is not None else WORKERS if own_pool else 0
    shown = console(as_json=as_json)
    with ExitStack() as house:
        connection = house.enter_context(conductor.controller(plan))
        log_to = house.enter_context(_log(shown, file))
        queue = house.enter_context(queue_of(plan))
        url = resolve(plan.database.url.get_secret_value())
        namespace = namespace_of(plan)
        tuned = ledger.workers(connection, plan.name) if own_pool else None
        pool = house.enter_context(
            worker_processes(
                count if tuned is None else tuned,
                database_url=url,
                redis_url=queue,
                namespace=namespace,
                log_to=log_to,
            )
        )
        if own_pool:
            house.enter_context(resized(pool, url, plan.name, otherwise=count))
        try:
            with watch.shown(url, plan.name, shown) as notify:
                conductor.run(
                    plan,
                    connection,
                    doorbell(queue, namespace),
                    to=end,
                    throttle=not no_throttle,
                    notify=notify,
                )
        except GateClosedError:
            _answer(connection, plan, as_json=as_json)
            raise
        _answer(connection, plan, as_json=as_json)


@contextmanager
def _log(shown: Console, file: Path) -> Iterator[IO[bytes] | None]:
    """Keep logs out of a live display: beside the plan where there is one, else on standard error."""
    if not (shown.is_terminal and sys.stderr.isatty()):
        yield None
        return
    path = file.with_suffix(".log")
    try:
        opened = path.open("ab")
    except OSError as error:
        raise GivenWrongError(f"the log {path} can't be written: {error.strerror}") from None
    with opened, path.open("a", encoding="utf-8") as ours:
        logs.configure(stream=ours)
        try:
            yield opened
        finally:
            logs.configure()
    shown.print(f"log: {path}", style="dim")


def _answer(connection: Connection, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        say_json(status.read(connection, plan.name).model_dump(mode="json"))


def rollback(
    file: File = DEFAULT_FILE,
    *,
    to: ToStage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Walk back: to just after a stage, or to the very beginning."""
    plan = read_plan(file)
    end = a_stage(to) if to is not None else None
    shown = console(as_json=as_json)
    with conductor.controller(plan) as connection:
        status.read(connection, plan.name)
        if not yes:
            _ask(plan, end)
        with watch.shown(plan.database.url.get_secret_value(), plan.name, shown) as notify:
            conductor.rollback(plan, connection, to=end, notify=notify)
    if as_json:
        say_json({"migration": plan.name, "rolled_back_to": end})
    else:
        say(f"{plan.name} is {f'just after {end}' if end else 'as it was before it began'}")


def _ask(plan: Plan, end: str | None) -> None:
    if not sys.stdin.isatty():
        raise GivenWrongError("nobody is there to ask; --yes walks back without asking")
    undone = STAGES[STAGES.index(end) + 1 if end else 0 :]
    loss = f" {plan.tenant.column} goes, with its values." if "columns" in undone else ""
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
        ledger.record(connection, migration.id, actor(), "retry", told)
    say(f"{told}: at once where a run is active, else by `tenantry run`")
