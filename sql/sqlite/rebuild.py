"""The statements that make a table anew, and the schema's own rows; what they are for, `rebuild.sql` says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sql.errors import CatalogError
from sql.named import load
from sql.sqlite.connection import File

STATEMENTS = load(Path(__file__).parent, "rebuild")


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of `sqlite_schema`."""

    rowid: int
    type: str
    name: str
    table: str
    root: int
    sql: str | None


def entries(file: File, table: str) -> list[Entry]:
    """A table's own entry, then those of its indexes."""
    rows = file.rows(STATEMENTS.entries.filled(), {"table": table})
    return [
        Entry(row["rowid"], row["type"], row["name"], row["tbl_name"], row["rootpage"], row["sql"])
        for row in rows
    ]


def kind_of(file: File, name: str) -> str | None:
    """What a name is in the file: `table`, `index`, `trigger` or `view`; None where nothing has it."""
    found: str | None = file.value(STATEMENTS.entry.filled(), {"name": name})
    return found


def key_of(file: File, table: str) -> tuple[str, ...]:
    """The columns of a table's primary key."""
    return tuple(row["name"] for row in file.rows(STATEMENTS.identity.filled(), {"table": table}))


def write(file: File, was: Entry, now: Entry) -> None:
    """Write an entry in the place of another."""
    file.execute(
        STATEMENTS.write_entry.filled(),
        {
            "rowid": was.rowid,
            "place": now.rowid,
            "type": now.type,
            "name": now.name,
            "table": now.table,
            "root": now.root,
            "sql": now.sql,
        },
    )


def version(file: File) -> int:
    """A number that is another one after each change of the schema, and after VACUUM."""
    return int(file.value(STATEMENTS.schema_version.filled()))


@contextmanager
def schema_edited(file: File) -> Iterator[None]:
    """Let the body write entries; afterwards every connection, ours too, reads the schema anew.

    Call it in a transaction: a schema that can't be read is an error here, and is rolled back with it.

    Raises:
        CatalogError: this SQLite lets nobody write them.
    """
    was = version(file)
    file.execute(STATEMENTS.allow_schema.filled())
    try:
        if not file.value(STATEMENTS.schema_allowed.filled()):
            raise CatalogError(
                "this SQLite is built to be defensive and lets nobody write a schema; run with a Python "
                "whose sqlite3 isn't (python.org's, or that of a Linux distribution)"
            )
        yield
        file.execute(STATEMENTS.set_schema_version.filled(version=str(was + 1)))
    finally:
        file.execute(STATEMENTS.forbid_schema.filled())
    file.value(STATEMENTS.next_place.filled())


def place_at_end(file: File, entry: Entry) -> Entry:
    """The entry behind all others: an index has to stand behind its table."""
    return replace(entry, rowid=int(file.value(STATEMENTS.next_place.filled())))


def balanced(terms: Sequence[str], by: str) -> str:
    """Join terms in brackets so that a wide table's condition isn't too deep for SQLite."""
    if len(terms) == 1:
        return terms[0]
    half = len(terms) // 2
    return f"({balanced(terms[:half], by)} {by} {balanced(terms[half:], by)})"
