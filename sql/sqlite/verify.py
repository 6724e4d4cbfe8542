"""What `verify` asks of a file; nothing here changes it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sql.named import load
from sql.sqlite.connection import File
from sql.sqlite.facts import Table
from sql.sqlite.names import quoted, written

STATEMENTS = load(Path(__file__).parent, "verify")

#: Instructions of SQLite's between two looks at the clock.
_INSTRUCTIONS = 10_000
#: What this connection calls its own table and view while it looks.
_ME, _VIEW = '"tenantry_me"', '"tenantry_view"'


class Strays(NamedTuple):
    """Rows that name one of another tenant's, and what the first of them names."""

    rows: int
    example: str | None


class Sample(NamedTuple):
    """A row: its key as SQL writes it, and a checksum of each of its values, in the order of `columns`."""

    key: tuple[str, ...]
    values: tuple[str, ...]


def tenants(file: File, table: Table, column: str) -> dict[Any, int]:
    """Rows by what they hold as their tenant, the largest first."""
    found = file.rows(STATEMENTS.tenants.filled(table=quoted(table.name), column=quoted(column)))
    return {row["tenant"]: row["rows"] for row in found}


def count(file: File, table: Table) -> int:
    """How many rows a table has."""
    return int(file.value(STATEMENTS.count.filled(table=quoted(table.name))))


def filled(file: File, migration: int) -> dict[str, int]:
    """How many rows the batches filled, by the tables' names in the plan."""
    return {row["table"]: row["rows"] for row in file.rows(STATEMENTS.filled.text, {"migration": migration})}


def identity(table: Table) -> tuple[str, ...]:
    """What tells a row of a table: its key, or else its rowid."""
    return table.primary_key or ((table.rowid,) if table.rowid else ())


def samples(file: File, table: Table, columns: Sequence[str], most: int) -> list[Sample]:
    """Some rows from all over a table; from its beginning where it has no rowid that a name leads to."""
    key = identity(table)
    if not key:
        return []
    fragments = {
        "table": quoted(table.name),
        "key": ", ".join(written(quoted(name)) for name in key),
        "values": ", ".join(f"quote({quoted(name)})" for name in columns),
    }
    if table.rowid is None:
        rows = file.execute(STATEMENTS.first_rows.filled(**fragments), {"most": most}).fetchall()
    else:
        rowid = quoted(table.rowid)
        statement = STATEMENTS.sampled.filled(**fragments, rowid=rowid)
        ends = file.rows(STATEMENTS.ends.filled(table=quoted(table.name), rowid=rowid))[0]
        if ends["first"] is None:
            return []
        apart = (ends["last"] - ends["first"]) // most + 1
        places = range(ends["first"], ends["last"] + 1, apart)
        rows = [file.execute(statement, {"at": at}).fetchone() for at in places]
    found = [
        Sample(tuple(row[: len(key)]), tuple(map(_checksum, row[len(key) :])))
        for row in rows
        if row is not None
    ]
    return list(dict.fromkeys(found))


def again(file: File, table: Table, key: Mapping[str, str], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """The checksums of the rows that have a key, whose values are as SQL writes them."""
    statement = STATEMENTS.again.filled(
        table=quoted(table.name),
        values=", ".join(f"quote({quoted(name)})" for name in columns),
        same=" AND ".join(f"{quoted(name)} IS {value}" for name, value in key.items()),
    )
    return [tuple(map(_checksum, row)) for row in file.execute(statement)]


def _checksum(value: str | bytes) -> str:
    return sha256(value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value).hexdigest()[
        :12
    ]


def strays(file: File, child: Table, parent: Table, pairs: Sequence[tuple[str, str]], column: str) -> Strays:
    """Rows of a table whose parent, by (ours, theirs) columns, is another tenant's and not their own's."""
    statement = STATEMENTS.edges.filled(
        child=quoted(child.name),
        parent=quoted(parent.name),
        example=written(f"c.{quoted(pairs[0][0])}"),
        pairs=" AND ".join(f"p.{quoted(theirs)} = c.{quoted(ours)}" for ours, theirs in pairs),
        column=quoted(column),
    )
    found = file.rows(statement)[0]
    return Strays(found["rows"], found["example"])


def broken_keys(file: File) -> dict[str, int]:
    """Rows that break a foreign key, by the table that has it and the one that it is to.

    Raises:
        sqlite3.OperationalError: a foreign key leads to what isn't unique, or not there.
    """
    found = file.rows(STATEMENTS.broken_keys.text)
    return {f"{row['of_table']} to {row['parent']}": row["rows"] for row in found}


def plan_of(file: File, table: Table, column: str, tenant: str) -> list[str]:
    """How SQLite reads a tenant's rows: a line for each step."""
    statement = STATEMENTS.explain.filled(table=quoted(table.name), column=quoted(column))
    return [row["detail"] for row in file.rows(statement, {"tenant": tenant})]


def plan_of_query(file: File, query: str, given: Mapping[str, Any]) -> list[str]:
    """How SQLite reads a query of the plan's own.

    Raises:
        sqlite3.Error: it is no query.
    """
    return [row["detail"] for row in file.rows(STATEMENTS.explain_query.filled(query=query), given)]


@contextmanager
def only_reading(file: File, *, seconds: float) -> Iterator[None]:
    """Have the connection refuse to write, and break off what goes on for longer than `seconds` in all.

    Raises:
        sqlite3.Error: the body wrote, or took too long.
    """
    end = time.perf_counter() + seconds
    file.execute(STATEMENTS.read_only.text)
    file.raw.set_progress_handler(lambda: int(time.perf_counter() > end), _INSTRUCTIONS)
    try:
        yield
    finally:
        file.raw.set_progress_handler(None, 0)
        file.execute(STATEMENTS.read_write.text)


def took(file: File, query: str, given: Mapping[str, Any], *, seconds: float) -> float:
    """How long a query of the plan's own takes, with all of its rows, and nothing written; in seconds.

    Raises:
        sqlite3.Error: it is no query, it writes, or it took longer than `seconds`.
    """
    with only_reading(file, seconds=seconds):
        begun = time.perf_counter()
        for _ in file.execute(STATEMENTS.query.filled(query=query), given):
            pass
        return time.perf_counter() - begun


@contextmanager
def through_view(file: File, table: Table, column: str) -> Iterator["Seen"]:
    """Have a view that shows one tenant's rows, as docs/sqlite.md has it, for this connection alone."""
    file.execute(STATEMENTS.me.filled(me=_ME))
    try:
        file.execute(
            STATEMENTS.view.filled(view=_VIEW, table=quoted(table.name), column=quoted(column), me=_ME)
        )
        yield Seen(file, column)
        file.execute(STATEMENTS.drop_view.filled(view=_VIEW))
    finally:
        file.execute(STATEMENTS.drop_me.filled(me=_ME))


class Seen(NamedTuple):
    """The view, as a tenant sees it."""

    file: File
    column: str

    def by(self, tenant: str) -> tuple[int, int]:
        """How many rows a tenant sees, and how many of them are another's."""
        self.file.execute(STATEMENTS.am.filled(me=_ME), {"tenant": tenant})
        statement = STATEMENTS.seen.filled(view=_VIEW, column=quoted(self.column))
        found = self.file.rows(statement, {"tenant": tenant})[0]
        return found["rows"], found["others"]


def said(error: Exception) -> str:
    """What SQLite says, in one line."""
    return str(error).splitlines()[0]
