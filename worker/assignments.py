"""The record of rows that went from one tenant to another by `tenants assign`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from sql.database import Database
from sql.errors import AssignmentError
from sql.ledger import send
from sql.postgres.assignments import STATEMENTS
from worker.ledger import MigrationState


@dataclass(frozen=True, slots=True)
class Assignment:
    """A row of `tenantry.assignments`.

    `condition` was asked of `tables`; one that takes another back `undoes` that instead. `rows` are those
    that it noted, by table; `before` is the state of the migration when it began.
    """

    id: int
    to_tenant: str
    from_tenant: str
    condition: str | None
    tables: tuple[str, ...]
    undoes: int | None
    state: Literal["running", "done", "undone"]
    rows: dict[str, int]
    before: MigrationState
    actor: str
    started_at: datetime
    finished_at: datetime | None

    def __str__(self) -> str:
        if self.undoes is not None:
            return f"assignment {self.undoes} taken back, from {self.from_tenant} to {self.to_tenant}"
        return f"{self.from_tenant} to {self.to_tenant} where {self.condition}, of {', '.join(self.tables)}"


def _assignment(row: dict[str, Any]) -> Assignment:
    return Assignment(**row | {"tables": tuple(row["tables"])})


def unfinished(connection: Database, migration: int) -> Assignment | None:
    """The assignment that was begun and has not ended."""
    rows = send(connection, STATEMENTS.unfinished, migration=migration)
    return _assignment(rows[0]) if rows else None


def none_half_way(connection: Database, migration: int) -> None:
    """See that no assignment was broken off: rows are with two tenants then, or apart from their parents.

    Raises:
        AssignmentError: one was.
    """
    if (begun := unfinished(connection, migration)) is not None:
        how = "`tenantry tenants assign --undo`" if begun.undoes is not None else "the command that began it"
        raise AssignmentError([f"rows are half way: {begun}"], f"Give {how} again to its end, then this")


def all_of(connection: Database, migration: int) -> list[Assignment]:
    """Every assignment of a migration, oldest first."""
    return [_assignment(row) for row in send(connection, STATEMENTS.all, migration=migration)]


def begin(
    connection: Database,
    migration: int,
    *,
    to: str,
    from_: str,
    condition: str | None,
    tables: tuple[str, ...],
    undoes: int | None,
    before: MigrationState,
    actor: str,
) -> Assignment:
    """Record that an assignment begins."""
    (row,) = send(
        connection,
        STATEMENTS.begin,
        migration=migration,
        to=to,
        **{"from": from_},
        condition=condition,
        tables=Jsonb(list(tables)),
        undoes=undoes,
        before=before,
        actor=actor,
    )
    return _assignment(row)


def end(connection: Database, assignment: int) -> dict[str, int]:
    """Record that it has ended; how many rows of each table it noted."""
    ended = {row["id"]: row["rows"] for row in send(connection, STATEMENTS.end, assignment=assignment)}
    return dict(ended[assignment])
