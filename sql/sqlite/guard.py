"""Fragments of the write guard's triggers, and how often it was needed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sql.named import Statement, load
from sql.sqlite.connection import File
from sql.sqlite.facts import Table
from sql.sqlite.names import folded, listed, literal, quoted

STATEMENTS = load(Path(__file__).parent, "guard")

#: The table that counts.
USES = "tenantry_guard"


@dataclass(frozen=True, slots=True)
class Use:
    """How often a table's guard was needed since it was put there, and when last, as a Unix time."""

    uses: int
    last_use: int | None


def uses(file: File) -> dict[str, Use]:
    """How often each guard was needed, by the name of its table.

    Raises:
        sqlite3.OperationalError: no guard is there.
    """
    return {row["name"]: Use(row["uses"], row["last_use"]) for row in file.rows(STATEMENTS.uses.filled())}


def is_there(file: File) -> bool:
    """Whether a guard is there."""
    return bool(file.rows(STATEMENTS.is_there.filled()))


@contextmanager
def followed_by_nobody(file: File) -> Iterator[None]:
    """Within a transaction: let nobody follow the rows that are given their first tenant in the body."""
    file.execute(STATEMENTS.let_follow.filled(quiet="1"))
    yield
    file.execute(STATEMENTS.let_follow.filled(quiet="0"))


def counted(statement: Statement, table: str) -> str:
    """A statement that counts, or counts where something was changed, at the end of a trigger."""
    return f"{statement.filled(name=literal(table))};"


def names_of(identity: Sequence[str]) -> str:
    """What tells a row, as one value."""
    return quoted(identity[0]) if len(identity) == 1 else f"({listed(identity)})"


def is_same(alias: str, other: str, identity: Sequence[str]) -> str:
    """Whether two rows are the same; each by its alias, or NEW."""
    return " AND ".join(f"{alias}.{quoted(name)} = {other}.{quoted(name)}" for name in identity)


def of_rowid(table: Table, watched: Sequence[str]) -> tuple[str, ...]:
    """By what other names a watched column may be set: one that is the rowid has several."""
    alias = table.rowid_alias
    if alias is None or folded(alias) not in map(folded, watched):
        return ()
    return ("rowid", "_rowid_", "oid")
