"""Looks at a file that has no plan yet: what its rows say about tenants."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from sql.asked import Known, Untold
from sql.named import load
from sql.sqlite.connection import File
from sql.sqlite.facts import Table
from sql.sqlite.names import literal, quoted
from sql.sqlite.planned import matches

STATEMENTS = load(Path(__file__).parent, "proposal")

#: In so many places of a large table its rows are read.
_PLACES = 50


def has_more(file: File, table: str, most: int) -> bool:
    """Whether a table has more rows than that."""
    return bool(file.value(STATEMENTS.more_than.filled(table=quoted(table), most=str(most))))


def sample(file: File, table: Table, most: int) -> str:
    """Some rows of a table, in place of it in a FROM: spread over it, or its first where it has no rowid."""
    if table.rowid is None:
        return STATEMENTS.first.filled(table=quoted(table.name), most=str(most))
    shared = {"rowid": table.rowid, "table": quoted(table.name)}
    (ends,) = file.rows(STATEMENTS.largest_rowid.filled(**shared))
    least, largest = ends["least"] or 0, ends["largest"] or 0
    step = max(1, (largest - least + 1) // _PLACES)
    each = str(max(1, most // _PLACES))
    places = [
        STATEMENTS.place.filled(from_=str(least + at * step), most=each, **shared) for at in range(_PLACES)
    ]
    return STATEMENTS.sample.filled(places=" UNION ALL ".join(places), **shared)


def known_in_column(file: File, rows: str, column: str) -> Known:
    """Count the rows that have a value in a column."""
    (row,) = file.rows(
        STATEMENTS.known_in_column.filled(rows=rows, column=quoted(column)),
        {"column": as_needed(file, column)},
    )
    return Known(**row)


def known_in_json(file: File, rows: str, column: str, keys: Sequence[str]) -> Known | None:
    """Find the first of the keys that any row has in a column of JSON texts."""
    statement = STATEMENTS.known_in_json.filled(rows=rows, column=quoted(column))
    found = next(iter(file.rows(statement, {"keys": json.dumps(keys)})), None)
    if found is None:
        return None
    name = as_needed(file, column)
    expression = f"{name}->>{literal(found['key'])}"
    if found["broken"]:
        # A row that is no JSON would be an error for every statement that comes upon it.
        expression = f"CASE WHEN json_valid({name}) THEN {expression} END"
    return Known(expression, found["rows"], found["known"])


def values(file: File, rows: str, column: str) -> dict[str | None, int]:
    """Count the rows by what a column says."""
    found = file.rows(STATEMENTS.values_of.filled(rows=rows, column=quoted(column)))
    return {row["value"]: row["rows"] for row in found}


def found_there(file: File, rows: str, column: str, other: str, key: str) -> tuple[int, int]:
    """Count some values of a column, and those of them that a key of another table has."""
    statement = STATEMENTS.found_there.filled(
        rows=rows, column=quoted(column), other=quoted(other), key=quoted(key)
    )
    (row,) = file.rows(statement)
    return row["values"], row["found"]


def untold(file: File, rows: str, other: str, on: Mapping[str, str]) -> Untold:
    """Count the rows that name by `on` (ours, theirs) nothing, or a row of `other` that is not there."""
    nothing = " OR ".join(f"t.{quoted(ours)} IS NULL" for ours in on)
    statement = STATEMENTS.untold.filled(
        rows=rows, other=quoted(other), named_nothing=f"({nothing})", pairs=matches(on, "o", "t")
    )
    (row,) = file.rows(statement)
    return Untold(**row)


def as_needed(file: File, name: str) -> str:
    """A name as an operator would write it: quoted only where it would mean something else without."""
    if not (name.isascii() and name.isidentifier()):
        return quoted(name)
    try:
        is_plain = file.value(STATEMENTS.is_plain.filled(name=name, quoted=quoted(name)))
    except sqlite3.OperationalError:
        return quoted(name)
    return name if is_plain else quoted(name)
