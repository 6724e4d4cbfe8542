"""Tables of a SQLite file that are filled: a parent and its child, of many shapes, and who writes to them."""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.plan.model import Plan
from control.sqlite import conductor
from sql.sqlite.names import quoted


def plan_of(path: Path, tables: Sequence[Mapping[str, Any]], **more: Any) -> Plan:
    """A plan for a file, with batches as small as they may be."""
    given = {"name": "m", "database": {"url": f"sqlite:///{path}"}, "tables": list(tables)}
    return Plan.model_validate(given | {"backfill": {"first_batch": 100}} | more)


def run(
    plan: Plan, *, beside: Callable[[], None] | None = None, before: str = "BEGIN IMMEDIATE"
) -> list[str]:
    """Run a plan as far as the backfill; what it says.

    `beside` is called before each of its transactions, or each statement that begins like `before`.
    """
    said: list[str] = []
    failed: list[Exception] = []

    def traced(sent: str) -> None:
        if beside is None or not sent.startswith(before):
            return
        try:
            beside()
        except Exception as error:  # noqa: BLE001  # SQLite drops what a trace raises
            failed.append(error)

    with conductor.controller(plan) as file:
        file.raw.set_trace_callback(traced)
        conductor.run(plan, file, to="backfill", notify=said.append)
    if failed:
        raise failed[0]
    return said


def made(path: Path, *statements: str) -> Path:
    """Make a file in WAL mode by statements."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
    return path


def asked(path: Path, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, on a connection of its own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


@dataclass(frozen=True)
class Shape:
    """A table as it may be."""

    name: str
    columns: str
    """Those of its key as declared; a constraint comes after `;`, the table's options after `|`."""
    key: tuple[str, ...]
    values: tuple[str, ...]
    """SQL of a number called `n`, for each column of the key."""

    @property
    def quoted(self) -> str:
        """Its name in SQL."""
        return quoted(self.name)

    def create(self, more: str) -> str:
        """The statement that makes it, with more columns."""
        columns, _, options = self.columns.partition("|")
        first, _, constraint = columns.partition(";")
        rest = f", {constraint}" if constraint else ""
        return f"CREATE TABLE {self.quoted} ({first}, {more}{rest}) {options}"


#: Keys of every kind that SQLite has.
SHAPES = (
    Shape("plain", "n INTEGER NOT NULL", ("n",), ("n",)),
    Shape("ids", "id INTEGER PRIMARY KEY", ("id",), ("n * 7 - 900",)),
    Shape("counted", "id INTEGER PRIMARY KEY AUTOINCREMENT", ("id",), ("n",)),
    Shape('we "ird', "[the key] TEXT PRIMARY KEY", ("the key",), ("'k''\"' || n",)),
    Shape("tab'le %s {}", "rowid TEXT NOT NULL, oid INTEGER; UNIQUE (rowid)", ("rowid",), ("hex(n)",)),
    Shape("select", '"from" TEXT, b INTEGER; PRIMARY KEY ("from", b)', ("from", "b"), ("n / 50", "n % 50")),
    Shape("hard", "id TEXT NOT NULL, b ANY; PRIMARY KEY (id, b)|STRICT", ("id", "b"), ("n % 3", "n / 3")),
    Shape("no rowid", "id TEXT PRIMARY KEY|WITHOUT ROWID", ("id",), ("'ü' || n || char(0) || 'x'",)),
    Shape(
        "both", "a TEXT, b REAL; PRIMARY KEY (a, b)|STRICT, WITHOUT ROWID", ("a", "b"), ("n % 5", "n / 5.0")
    ),
    Shape(
        "folded",
        "a TEXT, b INT; PRIMARY KEY (a COLLATE NOCASE, b DESC)|WITHOUT ROWID",
        ("a", "b"),
        ("substr('AbC', n % 3 + 1, 1)", "n"),
    ),
    Shape("blobs", "a BLOB, b; PRIMARY KEY (b, a)|WITHOUT ROWID", ("a", "b"), ("CAST(n AS BLOB)", "n / 2")),
)


@dataclass
class OldCode:
    """An application that knows nothing of tenants; its connection never waits."""

    connection: sqlite3.Connection

    def write(self, statement: str, *values: Any) -> None:
        """Write one statement."""
        self.connection.execute(statement, values)


def old_code(path: Path) -> OldCode:
    """Open the application's connection."""
    return OldCode(sqlite3.connect(path, isolation_level=None, timeout=0))
