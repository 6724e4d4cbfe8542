"""The plan's own indexes in a SQLite file: which are there, under whatever name, and which are to be made."""

from collections.abc import Iterator
from pathlib import Path

import sql.sqlite
from control.plan.sections import Index as PlanIndex
from control.plan.sections import Table as PlanTable
from sql.errors import CatalogError
from sql.named import load
from sql.sqlite.facts import Index, Table
from sql.sqlite.index_definition import index_parts
from sql.sqlite.names import folded, listed, quoted
from sql.sqlite.words import words

STATEMENTS = load(Path(sql.sqlite.__file__).parent, "indexes")


def create(index: PlanIndex, was: Table) -> str:
    """The statement that makes an index of the plan, as SQLite keeps it."""
    return STATEMENTS.create_index.filled(
        index=quoted(index.name), table=quoted(was.name), columns=listed(index.columns)
    )


def found(index: PlanIndex, live: Table) -> Index | None:
    """The index that does a plan's index's work: that of its name, or else one of another name.

    Raises:
        CatalogError: one of that name is another one.
    """
    named = live.index(index.name)
    if named is not None:
        if not _is_like(index, named):
            raise CatalogError(
                f"{named.name} of {live.name} is another index than the plan's: {named.sql or 'a constraint'}"
                "; drop it, or give the plan's another name"
            )
        return named
    return next((one for one in live.indexes if one.origin == "c" and _is_like(index, one)), None)


def missing(table: PlanTable, live: Table) -> Iterator[tuple[PlanIndex, str]]:
    """The plan's indexes that a table hasn't got, with their statements."""
    for index in table.indexes:
        if found(index, live) is None:
            yield index, create(index, live)


def _is_like(index: PlanIndex, other: Index) -> bool:
    """Whether an index is on these columns in this order, ascending, in the columns' own collations."""
    if other.unique or other.partial or other.sql is None:
        return False
    parts, _ = index_parts(other.sql)
    plain = [_name(part) for part in parts]
    descends = any(word.kind == "word" and folded(word.text) == "desc" for word in words(other.sql))
    return not descends and plain == [folded(name) for name in index.columns]


def _name(part: str) -> str | None:
    """The column that a part of an index is, folded; None for anything more."""
    cut = [word for word in words(part) if not word.is_blank]
    return folded(cut[0].named) if len(cut) == 1 and cut[0].kind in {"name", "word"} else None
