"""The sample graph in a file, its plan, and the application that works on it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import SecretStr

from control import conductor as either
from control.demo import journal, sample_file
from control.demo.messages import Code, Settings
from control.plan.model import Plan
from control.sqlite import conductor
from sql.errors import GateClosedError
from sql.sqlite.connection import SCHEME, File, connect

ENTITIES = 600


def made(folder: Path, entities: int = ENTITIES) -> Path:
    """A file with the sample."""
    path = folder / "graph.db"
    sample_file.make(path, entities=entities)
    return path


def settings(
    path: Path, *, entities: int = ENTITIES, connections: int = 4, rate: float = 400, code: Code = "old"
) -> Settings:
    """Those of an application on it, with its journal beside it."""
    return Settings(
        url=SecretStr(f"{SCHEME}{path}"),
        folder=path.parent / "journal",
        entities=entities,
        connections=connections,
        rate=rate,
        code=code,
    )


@contextmanager
def opened(path: Path) -> Iterator[File]:
    """A connection as ours are."""
    with closing(connect(f"{SCHEME}{path}")) as file:
        yield file


def broken(path: Path, tenant_column: str | None = None, entities: int = ENTITIES) -> list[journal.Check]:
    """What the journal's check finds wrong."""
    with opened(path) as file:
        result = journal.check(file, path.parent / "journal", entities=entities, tenant_column=tenant_column)
    assert result.acknowledged > 0
    return [check for check in result.checks if not check.ok]


def there(plan: Plan, file: File) -> None:
    """Go through every stage, vouching for the application at its gate; `file` is a controller's."""
    try:
        conductor.run(plan, file, notify=nobody)
    except GateClosedError as closed:
        if closed.stage != "application":
            raise
        either.confirm(plan, file, "application")
        conductor.run(plan, file, notify=nobody)


def nobody(_line: str) -> None:
    """Nobody listens."""
