"""Facts about a file that preflight asks for; nothing here changes it."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any

from sql.errors import FileBusyError
from sql.named import load
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog, Table
from sql.sqlite.integrity import faults
from sql.sqlite.names import listed, quoted
from sql.sqlite.planned import TENANT, called, matches, place_of, planned
from sql.tenant_source import TenantSource

STATEMENTS = load(Path(__file__).parent, "preflight")

#: A file of more bytes is not read page by page for the sizes of its tables.
LARGE = 2 * 1024**3
#: How long somebody else may write before that is told, in seconds.
_PATIENCE = 0.25


class TooLongError(Exception):
    """A question that was given up after its time limit."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a file is kept; `bytes_` of it are `free` for new rows."""

    journal_mode: str
    page_size: int
    bytes_: int
    free: int
    auto_vacuum: int
    secure_delete: bool


@dataclass(frozen=True, slots=True)
class Size:
    """A table: its rows, its bytes and those of all its indexes."""

    rows: int
    bytes_: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class Log:
    """The WAL: its pages, and how many of them are not in the file yet though nobody writes."""

    pages: int
    left: int


@contextmanager
def limited(file: File, seconds: float) -> Iterator[None]:
    """Give up what is asked in the context after so many seconds.

    Raises:
        TooLongError: it was given up.
    """
    timer = Timer(seconds, file.raw.interrupt)
    timer.start()
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
            raise TooLongError from None
        raise
    finally:
        # Joined: fired only now, it would break off what is asked next.
        timer.cancel()
        timer.join()


def settings(file: File) -> Settings:
    """Read how the file is kept."""
    (row,) = file.rows(STATEMENTS.settings.filled())
    return Settings(
        journal_mode=row["journal_mode"],
        page_size=row["page_size"],
        bytes_=row["page_count"] * row["page_size"],
        free=row["freelist_count"] * row["page_size"],
        auto_vacuum=row["auto_vacuum"],
        secure_delete=bool(row["secure_delete"]),
    )


def sizes(file: File, tables: Sequence[Table], seconds: float) -> dict[str, Size]:
    """Tell how large tables are, each count of rows given up after so many seconds.

    By `dbstat` where SQLite has it and the file is not too large; else what the file holds is shared out by
    rows, and a table that was not counted has as many as its largest rowid says.
    """
    rows = {table.name: _rows(file, table, seconds) for table in tables}
    if has_option(file, "ENABLE_DBSTAT_VTAB") and settings(file).bytes_ <= LARGE:
        of = {row["table"]: row for row in file.rows(STATEMENTS.sizes.filled())}
        return {
            name: Size(count, of[name]["bytes"] or 0, of[name]["index_bytes"] or 0)
            for name, count in rows.items()
        }
    whole, every = settings(file).bytes_, sum(rows.values()) or 1
    return {name: Size(count, round(whole * count / every), 0) for name, count in rows.items()}


def _rows(file: File, table: Table, seconds: float) -> int:
    try:
        with limited(file, seconds):
            return int(file.value(STATEMENTS.rows.filled(table=quoted(table.name))))
    except TooLongError:
        if table.rowid is None:
            return 0
        largest = STATEMENTS.largest_rowid.filled(table=quoted(table.name), rowid=table.rowid)
        return int(file.value(largest) or 0)


def has_null(file: File, table: str, columns: Sequence[str], seconds: float) -> bool:
    """Whether a row has NULL in one of the columns; or may have, where none is found in so many seconds."""
    if not columns:
        return False
    null = " OR ".join(f"{quoted(column)} IS NULL" for column in columns)
    try:
        with limited(file, seconds):
            return bool(file.value(STATEMENTS.has_null.filled(table=quoted(table), null=null)))
    except TooLongError:
        return True


def may_write_schema(file: File) -> bool:
    """Whether SQLite lets a connection write the schema's own rows: not where it is built to be defensive."""
    with File(file.path) as other:
        other.execute(STATEMENTS.allow_schema.filled())
        return bool(other.value(STATEMENTS.schema_allowed.filled()))


def has_option(file: File, option: str) -> bool:
    """Whether SQLite was built with an option."""
    return any(row["option"] == option for row in file.rows(STATEMENTS.options.filled()))


def has_collation(file: File, name: str) -> bool:
    """Whether this connection has a collation; those that the schema names are listed with those it has."""
    return refused(file, STATEMENTS.collated.filled(collation=quoted(name))) is None


def may_write_now(file: File) -> bool:
    """Whether nobody has the write lock; it is had for a moment, and nothing is written."""
    with File(file.path, busy_seconds=_PATIENCE) as other:
        try:
            other.execute(STATEMENTS.begin_writing.filled())
        except FileBusyError:
            return False
        other.execute(STATEMENTS.stop_writing.filled())
    return True


def log(file: File) -> Log:
    """Tell what is left in the WAL after as much as possible was moved into the file."""
    (row,) = file.rows(STATEMENTS.checkpoint.filled())
    pages, moved = max(0, row["log"]), max(0, row["checkpointed"])
    return Log(pages, pages - moved)


def integrity(file: File, *, quick: bool) -> list[str]:
    """What SQLite finds wrong in the file; the first few of it, none where all is well."""
    return faults(file, most=5, quick=quick)


def dangling(file: File, table: str) -> dict[str, int]:
    """Rows of a table that name rows which are not there, by the table that they name.

    Raises:
        sqlite3.OperationalError: a foreign key of it names columns that are no key.
    """
    found: dict[str, int] = {}
    for row in file.execute(STATEMENTS.foreign_key_check.filled(table=quoted(table))):
        found[row[2]] = found.get(row[2], 0) + 1
    return found


def refused(file: File, statement: str) -> str | None:
    """Why SQLite can't compile a statement; None where it can."""
    try:
        file.execute(STATEMENTS.explain.filled(statement=statement)).fetchone()
    except sqlite3.OperationalError as error:
        return str(error)
    return None


def reading(name: str) -> str:
    """The statement that reads all columns of a table or view."""
    return STATEMENTS.read_all.filled(table=quoted(name))


def writing(name: str, columns: Sequence[str], *, is_view: bool = False) -> dict[str, str]:
    """Statements that need all that a write of each kind needs; they are for being compiled."""
    insert = STATEMENTS.insert_nothing.filled(table=quoted(name))
    if is_view:
        nulls = ", ".join("NULL" for _ in columns)
        insert = STATEMENTS.insert_nulls.filled(table=quoted(name), columns=listed(columns), nulls=nulls)
    assigned = ", ".join(f"{quoted(column)} = {quoted(column)}" for column in columns)
    return {
        "insert": insert,
        "update": STATEMENTS.update_nothing.filled(table=quoted(name), assigned=assigned),
        "delete": STATEMENTS.delete_all.filled(table=quoted(name)),
    }


def columns(file: File, name: str) -> list[str]:
    """The columns of a table or view that can be compiled."""
    return [row["name"] for row in file.rows(STATEMENTS.columns.filled(), {"name": name})]


def virtual(file: File) -> dict[str, str]:
    """The virtual tables, each with the statement that makes it."""
    return {row["name"]: row["sql"] for row in file.rows(STATEMENTS.virtual.filled())}


def names(file: File) -> dict[str, str]:
    """Every name in the schema, with the table that it belongs to."""
    return {row["name"]: row["tbl_name"] for row in file.rows(STATEMENTS.names.filled())}


class Rows:
    """Rows of the plan's tables with the tenants that they will have.

    `some` are subqueries with rows to look at, by their table, where not all are.
    """

    def __init__(
        self,
        file: File,
        sources: Mapping[str, TenantSource],
        original: Catalog,
        some: Mapping[str, str] | None = None,
    ) -> None:
        self.file = file
        self.sources = sources
        self.original = original
        self.some = some

    def _planned(self, *names: str) -> str:
        return planned(self.sources, self.original, *names, some=self.some)

    def refused(self, name: str) -> str | None:
        """Why SQLite can't work out the tenants of a table; None where it can."""
        statement = STATEMENTS.worked_out.filled(
            planned=self._planned(name), tenant=TENANT, rows=called(name)
        )
        return refused(self.file, statement)

    def tenants(self, name: str) -> dict[str | None, int]:
        """Count the rows of a table by their tenants-to-be, None for those that have none."""
        statement = STATEMENTS.tenants.filled(planned=self._planned(name), tenant=TENANT, rows=called(name))
        return {row["tenant"]: row["rows"] for row in self.file.rows(statement)}

    def unresolved(self, name: str) -> list[str]:
        """Name a few rows that have no tenant, by their key."""
        statement = STATEMENTS.unresolved.filled(
            planned=self._planned(name),
            tenant=TENANT,
            rows=called(name),
            key=key_of(self.original.table(name), "t"),
        )
        return [str(row["key"]) for row in self.file.rows(statement)]

    def crossing(self, child: str, parent: str, on: Mapping[str, str]) -> list[dict[str, Any]]:
        """Rows of `child` whose parent will be another tenant's: `tenant`, `other`, `rows`, `example`."""
        statement = STATEMENTS.crossing.filled(
            planned=self._planned(child, parent),
            tenant=TENANT,
            child=called(child),
            parent=called(parent),
            pairs=matches(on, "parent", "child"),
            example=key_of(self.original.table(child), "child"),
        )
        return self.file.rows(statement)

    def ambiguous(self, there: str, columns: Sequence[str], column: str | None) -> dict[str, Any]:
        """Values of a parent's columns, or of a looked-up table's, that several rows have.

        `keys` of them, of which `torn` lead to several tenants each; `examples` is a text. The tenant is what
        `column` says, or for None the one that a table of the plan will have.
        """
        if column is None:
            common = self._planned(there)
        else:
            common = STATEMENTS.looked_up.filled(
                called=called(there), column=quoted(column), tenant=TENANT, table=quoted(there)
            )
        statement = STATEMENTS.ambiguous.filled(
            planned=common,
            rows=called(there),
            tenant=TENANT,
            key=" || ', ' || ".join(f"r.{quoted(one)}" for one in columns),
            grouped=listed(columns, "r"),
        )
        (row,) = self.file.rows(statement)
        return row


def key_of(there: Table, of: str) -> str:
    """The key by which an operator knows a row, as one text in SQL; its place, where there is none."""
    return " || ', ' || ".join(f"{of}.{quoted(name)}" for name in there.primary_key) or place_of(there, of)
