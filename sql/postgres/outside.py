"""What the server says of foreign keys from tables that the plan doesn't name."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sql.named import load
from sql.postgres.connection import Connection
from sql.postgres.facts import ForeignKey

STATEMENTS = load(Path(__file__).parent, "outside")


class Found(NamedTuple):
    """A foreign key that is there; `kind` is its table's `relkind`, `owned` whether we may alter that."""

    schema: str
    table: str
    name: str
    kind: str
    owned: bool


def look(connection: Connection, keys: Sequence[ForeignKey]) -> list[Found]:
    """Those of the foreign keys that are there."""
    if not keys:
        return []
    asked = {
        "schemas": [key.schema_ for key in keys],
        "tables": [key.table for key in keys],
        "names": [key.name for key in keys],
    }
    return [Found(*row) for row in connection.execute(STATEMENTS.look.compose(), asked)]
