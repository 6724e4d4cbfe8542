"""`sample load`, `application`: the sample graph and its application on servers that are there."""

from contextlib import closing
from typing import Annotated

import typer

from control.cli.options import address, console, say
from control.demo import loading, service
from control.demo.sample import FEWEST_ENTITIES
from sql.errors import GivenWrongError
from sql.postgres.connection import connect, resolve
from sql.sqlite.connection import is_file

sample = typer.Typer(
    help="The sample graph and an application that works on it, on a server of yours: to try everything out.",
    no_args_is_help=True,
)

_Address = Annotated[
    str, typer.Option("--database", help="Its address, without a password, or `env:NAME`.", metavar="URL")
]


@sample.command()
def load(
    *,
    database: _Address = "env:DATABASE_URL",
    entities: Annotated[
        int, typer.Option(min=FEWEST_ENTITIES, help="Entities of the graph; twice as many relations.")
    ] = 200_000,
) -> None:
    """Put the sample graph into a database that has no tables of its names; where it is there, nothing."""
    with closing(connect(_of_server(database), "sample")) as connection:
        loaded = loading.load(connection, entities=entities)
        size = loading.size(connection)
    say(f"{'loaded' if loaded else 'there already:'} {size:,} entities, {2 * size:,} relations")


@sample.command()
def application(
    *,
    database: _Address = "env:DATABASE_URL",
    rate: Annotated[float, typer.Option(min=1, max=10_000, help="Operations per second.")] = 100,
) -> None:
    """Work on the sample graph until told to stop, and say how long that takes.

    Once the key that its new code upserts by is there, it deploys that code by itself, and you may confirm
    the stage `application`. On the way back it deploys the old code as soon as the old key is there again.
    """
    shown = console()
    service.work(_of_server(database), rate=rate, tell=lambda line: shown.print(line, soft_wrap=True))


def _of_server(database: str) -> str:
    url = resolve(address(database))
    if is_file(url):
        raise GivenWrongError("the sample goes to PostgreSQL; `tenantry demo --sqlite` shows one in a file")
    return url
