"""`backup`, `restore`, `rehearse`: the last way back, and what it is good for before."""

import logging
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from control import backup as backups
from control import conductor, rehearsal
from control.backup import Backup
from control.cli.options import DEFAULT_FILE, AsJson, File, address, connect_to, console, say, say_json
from control.cli.staff import WORKERS
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.plan.sections import Backup as Asked
from control.restore import restore as bring_back
from control.sqlite import backup as file_backups
from control.sqlite import conductor as files
from control.sqlite import rehearsal as file_rehearsal
from control.sqlite.restore import restore as bring_file_back
from control.watch import follow
from control.watch.words import duration
from sql.database import Database
from sql.errors import GivenWrongError
from sql.postgres import surroundings
from sql.postgres.connection import resolve
from sql.sqlite.connection import File as SqliteFile
from sql.sqlite.connection import is_file
from worker import ledger, logs

Into = Annotated[
    str | None,
    typer.Option("--into", help="Another database, without a password, or `env:NAME`.", metavar="URL"),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace the tables that are there: what came since is lost.")
]
Jobs = Annotated[
    int, typer.Option(min=1, max=64, help="Connections of pg_restore; with one it is all or nothing.")
]


def backup(file: File = DEFAULT_FILE, *, as_json: AsJson = False) -> None:
    """Take the plan's backup now; a run that finds it takes it over."""
    plan = read_plan(file)
    if plan.backup is None:
        raise GivenWrongError(f"{file} names no place for it: add [backup] path")
    with connect_to(plan, "backup") as connection:
        known = ledger.find(connection, plan.name)
        stages = ledger.stages(connection, known.id) if known is not None else {}
        if "columns" in stages and stages["columns"].state != "open":
            raise GivenWrongError(
                f"{plan.name} has begun, and a backup would hold half of it; roll back first, or use pg_dump "
                "(for a SQLite file VACUUM INTO)"
            )
        taken = _take(plan, plan.backup, connection, console(as_json=as_json))
    if as_json:
        say_json(taken.model_dump(mode="json"))
    else:
        say(f"wrote {taken.path}, {taken.bytes / 1e6:,.0f} MB, sha256 {taken.sha256}")


def _take(plan: Plan, asked: Asked, connection: Database, shown: Console) -> Backup:
    url, path = plan.database.url.get_secret_value(), Path(asked.path)
    if isinstance(connection, SqliteFile):
        found = files.survey(plan, connection, lambda _line: None).original
        return file_backups.copy(url, path, found, notify=lambda line: shown.print(line, style="dim"))
    return backups.dump(
        url,
        path,
        conductor.survey(plan, connection, lambda _line: None).original,
        jobs=asked.jobs,
        database=surroundings.identity(connection),
    )


def restore(
    path: Annotated[Path, typer.Argument(help="The backup.", metavar="FILE")],
    file: File = DEFAULT_FILE,
    *,
    into: Into = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Bring a backup back: into the plan's database, or with --into another."""
    url = address(into) if into is not None else read_plan(file).database.url.get_secret_value()
    shown = console(as_json=as_json)

    def notify(line: str) -> None:
        shown.print(line, style="dim")

    if is_file(resolve(url)):
        if jobs != 1:
            raise GivenWrongError("a SQLite file has one writer at a time: leave --jobs out")
        restored = bring_file_back(path, url, overwrite=overwrite, notify=notify)
    else:
        restored = bring_back(path, url, jobs=jobs, overwrite=overwrite, notify=notify)
    if as_json:
        say_json(asdict(restored))
    else:
        say(f"{restored.into} is as {restored.backup} has it: {restored.tables} tables")


def rehearse(
    file: File = DEFAULT_FILE,
    *,
    into: Annotated[
        str,
        typer.Option("--into", help="An empty database, without a password, or `env:NAME`.", metavar="URL"),
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help=f"Worker processes; {WORKERS} for a server.")
    ] = None,
    overwrite: Overwrite = False,
    jobs: Jobs = 1,
    as_json: AsJson = False,
) -> None:
    """Restore the plan's backup elsewhere, run the plan there, and keep what each stage took."""
    plan = read_plan(file)
    url = address(into)
    if plan.on_file != is_file(resolve(url)):
        raise GivenWrongError("--into is the other kind of database; name one like the plan's own")
    if plan.on_file and (workers is not None or jobs != 1):
        raise GivenWrongError("a SQLite file has one writer at a time: leave --workers and --jobs out")
    shown = console(as_json=as_json)
    # The display tells what goes on; what workers say goes into a file, where it draws over nothing.
    logs.configure(level=logging.WARNING)
    log = file.with_suffix(".rehearsal.log")
    with ExitStack() as house:
        try:
            log_to = house.enter_context(log.open("wb"))
        except OSError as error:
            raise GivenWrongError(f"the log {log} can't be written: {error.strerror}") from None
        notify = house.enter_context(follow.shown(resolve(url), plan.name, shown))
        if plan.on_file:
            told = file_rehearsal.rehearse(plan, url, overwrite=overwrite, notify=notify)
        else:
            told = rehearsal.rehearse(
                plan,
                url,
                workers=workers or WORKERS,
                jobs=jobs,
                overwrite=overwrite,
                notify=notify,
                log_to=log_to,
            )
    if as_json:
        say_json(told.timings.model_dump(mode="json"))
        return
    for stage in told.timings.stages:
        say(f"{stage.stage:<12} {duration(stage.seconds):>8}  {stage.wal_bytes / 1e6:>8,.0f} MB of WAL")
    say(f"kept in {told.file}; `tenantry check` goes by it")
