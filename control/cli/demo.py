"""`demo`: the whole migration of a sample graph, with servers and an application of its own."""

import logging
from typing import Annotated

import typer

from control.cli.options import console
from control.demo import show, show_file, summary
from control.demo.sample import FEWEST_ENTITIES
from worker import logs


def demo(
    *,
    entities: Annotated[
        int, typer.Option(min=FEWEST_ENTITIES, help="Entities of the graph; twice as many relations.")
    ] = 200_000,
    sqlite: Annotated[bool, typer.Option("--sqlite", help="In a SQLite file, not in PostgreSQL.")] = False,
) -> int:
    """Migrate a sample graph while an application works; needs no server."""
    # The display tells what goes on; only what is wrong comes between.
    logs.configure(level=logging.WARNING)
    shown = console()
    told = show_file.migrate(entities, shown) if sqlite else show.migrate(entities, shown)
    summary.say(told, shown)
    return 0 if told.ok else 1
