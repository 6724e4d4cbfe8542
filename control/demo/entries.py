"""The journal: what the database acknowledged to the demo's application, entry by entry.

One file of JSON lines for each connection, so that no two threads share one. Each line is written as soon as
the acknowledgement is there: an application that is killed loses at most the operation it was in.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from sql.errors import GivenWrongError

Properties = dict[str, Any]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EntityEntry(_Entry):
    """An entity is there with these properties: inserted, upserted or updated by its only writer."""

    op: Literal["entity"] = "entity"
    id: str
    org: str
    properties: Properties


class RelationEntry(_Entry):
    """A relation is there; it goes with either of its ends."""

    op: Literal["relation"] = "relation"
    id: str
    org: str
    source: str
    target: str
    properties: Properties
    weight: float


class DeleteEntry(_Entry):
    """An entity is gone, and `relations` with it.

    `relations` is None where the connection was lost before the answer, and a look afterwards found the
    entity gone.
    """

    op: Literal["delete"] = "delete"
    id: str
    org: str
    relations: tuple[str, ...] | None


class SharedEntry(_Entry):
    """An upsert of an entity that other connections upsert too; `sure` is false if the answer was lost."""

    op: Literal["shared"] = "shared"
    id: str
    org: str
    properties: Properties
    sure: bool = True


class EndEntry(_Entry):
    """The connection stopped in good order: the journal is complete."""

    op: Literal["end"] = "end"


Entry = EntityEntry | RelationEntry | DeleteEntry | SharedEntry | EndEntry

_ENTRY: TypeAdapter[Entry] = TypeAdapter(Annotated[Entry, Field(discriminator="op")])
_PATTERN = "connection-*.jsonl"


class Journal:
    """The journal of one connection, open for writing; without a folder what is written is forgotten."""

    def __init__(self, folder: Path | None, connection: int) -> None:
        path = Path(os.devnull) if folder is None else folder / f"connection-{connection}.jsonl"
        # Line buffered: what was acknowledged must survive even a SIGKILL of the application.
        self._file = path.open("w" if folder is None else "x", buffering=1, encoding="utf-8")

    def write(self, entry: Entry) -> None:
        """Append one entry."""
        self._file.write(entry.model_dump_json() + "\n")

    def end(self) -> None:
        """Say that the journal is complete."""
        self.write(EndEntry())

    def close(self) -> None:
        """Close the file; without `end` before, the check says that the journal is not complete."""
        self._file.close()


def read(folder: Path) -> list[list[Entry]]:
    """Read a folder's journals: the entries of each connection, in the order of their acknowledgement.

    Raises:
        GivenWrongError: the folder holds no journal, or a line that is not an entry.
    """
    paths = sorted(folder.glob(_PATTERN))
    if not paths:
        raise GivenWrongError(f"{folder} holds no journal ({_PATTERN})")
    return [_read(path) for path in paths]


def _read(path: Path) -> list[Entry]:
    entries = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                entries.append(_ENTRY.validate_json(line))
            except ValidationError as error:
                raise GivenWrongError(f"{path}:{number}: not a journal entry: {error}") from None
    return entries
