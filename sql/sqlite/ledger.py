"""The ledger's statements, sent to a SQLite file; their meaning is `worker.ledger`'s and `worker.jobs`'.

A statement is asked for by the one of the same name for PostgreSQL. SQLite changes no rows within a query, so
that one of ours may be several, sent in one transaction with the same parameters; the last that returns rows
answers. Values that are no numbers or texts travel as JSON, times as Unix times.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from sql.errors import LedgerGarbledError
from sql.named import Statement, load
from sql.sqlite.connection import File, shown

_FOLDER = Path(__file__).parent

#: Of these a file's ledger alone has some: there is no queue, and a batch is several statements.
JOBS = load(_FOLDER, "jobs")

#: Tables of ours that stay as long as there is a migration, and whose indexes are named after them.
LASTING = (
    *("tenantry_migrations", "tenantry_stages", "tenantry_jobs", "tenantry_batches", "tenantry_quarantine"),
    *("tenantry_events", "tenantry_governor", "tenantry_assignments", "tenantry_assigned"),
    *("tenantry_paces", "tenantry_holds", "tenantry_version"),
    *("tenantry_enabled", "tenantry_guard"),
)

#: Columns that hold JSON, by the names that statements answer with.
_JSON = frozenset(
    {"tables", "original", "settings", "tuned", "held", "spec", "last_key", "planned_to", "lower", "upper"}
    | {"key", "columns", "sample", "value", "rows", "about"}
)
#: Columns that are true or false.
_BOOLEAN = frozenset({"exists", "versioned", "there", "planned", "all", "parted", "begun", "gone"})
#: Columns that hold a time, beside those whose name ends in `_at`.
_TIMES = frozenset({"at", "since", "until", "closed_since"})


def send(file: File, asked: Statement, **parameters: Any) -> list[dict[str, Any]]:
    """Send the statement that has the name of `asked`; its rows as dictionaries, none where it returns none.

    Raises:
        FileBusyError: another writer was in the way for longer than the busy timeout.
        LedgerGarbledError: what it reads is no JSON, or no time.
        sqlite3.OperationalError: the ledger isn't there.
    """
    given = {name: _written(value) for name, value in parameters.items()} | {"now": time.time()}
    statements = _statements(asked.file, asked.name)
    if len(statements) == 1:
        return _rows(file, statements[0], given)
    found: list[dict[str, Any]] = []
    with file.transaction():
        for statement in statements:
            found = _rows(file, statement, given) or found
    return found


@cache
def _statements(file: str, name: str) -> tuple[str, ...]:
    text: str = getattr(load(_FOLDER, file), name).filled()
    return tuple(_cut(f"{text};"))


def _cut(text: str) -> Iterator[str]:
    """Cut a text at the semicolons that end a statement: SQLite itself knows which do."""
    statement = ""
    for part in text.split(";")[:-1]:
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def _rows(file: File, statement: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    try:
        rows = file.rows(statement, given)
    except sqlite3.OperationalError as error:
        # What it reads within JSON it calls an error like any other where that is none.
        if error.sqlite_errorcode == sqlite3.SQLITE_ERROR:
            _no_garbled(file)
        raise
    return [{name: _read(name, value, row) for name, value in row.items()} for row in rows]


def _no_garbled(file: File) -> None:
    ledger = load(_FOLDER, "ledger")
    for row in file.rows(ledger.garbled.filled()) if file.value(ledger.exists.filled()) else []:
        raise LedgerGarbledError(f"migrations.{row['part']}", row["name"], "no JSON")


def _written(value: Any) -> Any:
    if isinstance(value, Jsonb):
        return json.dumps(value.obj, ensure_ascii=False)
    if isinstance(value, (list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _read(name: str, value: Any, row: dict[str, Any]) -> Any:
    if value is None:
        return None
    if name in _BOOLEAN:
        return bool(value)
    try:
        if name in _JSON and isinstance(value, str):
            return json.loads(value)
        if name in _TIMES or name.endswith("_at"):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LedgerGarbledError(f"`{name}`", row.get("name"), shown(str(error))) from None
    return value
