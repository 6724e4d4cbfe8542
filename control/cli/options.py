"""Options that several commands share, and what they become."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import conninfo
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from control.plan.model import Plan, nearest
from control.status import stages_of_plan
from control.watch.printable import is_unicode, printable
from sql.database import Database, connect, describe
from sql.errors import GivenWrongError
from sql.postgres import connection as postgres
from sql.postgres.connection import Connection, is_elsewhere, resolve
from sql.sqlite import connection as sqlite
from sql.sqlite.connection import File as SqliteFile
from sql.sqlite.connection import is_file

DEFAULT_FILE = Path("migration.toml")

File = Annotated[Path, typer.Option("--file", "-f", help="The plan.", metavar="FILE")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with JSON on standard output.")]
ToStage = Annotated[str | None, typer.Option("--to", help="End after this stage.", metavar="STAGE")]


def connect_to(plan: Plan, purpose: str) -> Database:
    """Open a connection to the database of a plan, for `purpose` as a server shows it.

    Raises:
        GivenWrongError: the address can't be read, or names a variable that is not set.
        UnreachableError: no answer, the login refused; no such file, or it is no database.
    """
    return connect(plan.database.url.get_secret_value(), purpose)


def connect_to_server(plan: Plan, purpose: str) -> Connection:
    """The same, for what is asked of PostgreSQL alone.

    Raises:
        GivenWrongError: the address can't be read, or names a variable that is not set.
        UnreachableError: no answer, or the login refused.
    """
    return postgres.connect(plan.database.url.get_secret_value(), purpose)


def open_file(plan: Plan) -> SqliteFile:
    """The same, for a plan whose database is a SQLite file.

    Raises:
        UnreachableError: no such file, or it is no database.
    """
    return sqlite.connect(resolve(plan.database.url.get_secret_value()))


def address(url: str) -> str:
    """Check an address from the command line, which may be `env:NAME` or `file:PATH`.

    Raises:
        GivenWrongError: it can't be read, names a variable that is not set, or holds a password.
    """
    describe(resolve(url))
    if is_file(url):
        return url
    if not is_elsewhere(url) and conninfo.conninfo_to_dict(url).get("password"):
        raise GivenWrongError(
            "a password on the command line is there for every user of this machine to read; "
            "export the address and name it as env:NAME, or file:PATH"
        )
    return url


def a_stage(name: str, plan: Plan) -> str:
    """Check the name of a stage of a plan.

    Raises:
        GivenWrongError: there is no such stage.
    """
    stages = stages_of_plan(plan)
    if name not in stages:
        raise GivenWrongError(
            f"no stage {name!r}{nearest(name, stages) or '; they are ' + ', '.join(stages)}"
        )
    return name


class _Console(Console):
    """One that lets nothing of a text reach the terminal but what can be read."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def console(*, as_json: bool = False) -> Console:
    """Make the console for what is shown meanwhile: standard error where the answer is JSON."""
    return _Console(stderr=as_json, highlight=False)


def say(line: str) -> None:
    """Write a line of the answer to standard output; as it is where a program reads it."""
    sys.stdout.write(f"{printable(line) if sys.stdout.isatty() else line}\n")


def say_json(answer: Any) -> None:
    """Write the answer, whatever JSON can hold, to standard output; times as ISO 8601."""
    say(json.dumps(answer, indent=2, default=str, ensure_ascii=not is_unicode(sys.stdout)))
