"""The `-- locks:` lines of the statements that change the schema, held against the server's lock table."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import tuple_row
from psycopg.sql import SQL

import sql.postgres
from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.stages import columns
from control.stages.stage import How, Step
from sql.named import load
from sql.postgres.connection import Connection, connect
from tests.integration.walking import FILL_ODD, ODD, ODD_SCHEMA, STAGES, Walker
from tests.waiting import until

FOLDER = Path(sql.postgres.__file__).parent

#: From the weakest to the strongest, as PostgreSQL's manual orders them.
MODES = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_NAMED = re.compile("|".join(sorted(MODES, key=len, reverse=True)))
_TAG = re.compile(r"/\* tenantry (\w+)\.(\w+) \*/")

#: Every mode that a session holds on a table of the user's.
HELD = """
SELECT c.oid::regclass::text, l.mode
FROM pg_locks AS l
JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.pid = %s AND l.granted AND l.locktype = 'relation' AND c.relkind IN ('r', 'p')
  AND n.nspname NOT LIKE 'pg\\_%%'
"""


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker at the start of the odd schema."""
    with connect(database, "test") as connection:
        connection.execute(ODD_SCHEMA)
        yield Walker(connection, Plan.model_validate(ODD), postgres)


def test_every_statement_takes_the_locks_that_its_line_names(walker: Walker, database: str) -> None:
    """On no table a stronger one than the step says, and none that the statement's line doesn't name."""
    held = 0
    for steps in _every_walk(walker):
        for step in steps:
            if step.done(walker.live()):
                continue
            locks = (
                _while_it_waits(step, database) if "CONCURRENTLY" in _text(step) else _inside(step, walker)
            )
            _compare(step, locks)
            held += len(locks)
            take(walker.connection, step, notify=lambda _: None)
    assert held > 50


def _every_walk(walker: Walker) -> Iterator[Iterator[Step]]:
    for stage in STAGES:
        yield stage.steps(walker.plan, walker.original)
        if stage is columns.STAGE:
            walker.connection.execute(FILL_ODD)
    for stage in reversed(STAGES):
        yield stage.undo(walker.plan, walker.original)


def _compare(step: Step, locks: dict[str, str]) -> None:
    named: set[str] = set()
    for file, name in _TAG.findall(_text(step)):
        named.update(_NAMED.findall(load(FOLDER, file).__getattr__(name).locks))
    assert set(locks.values()) <= named, f"{step.what}: {locks}, and the line names {named}"
    if step.how is How.PLAIN:
        assert not locks, step.what
    else:
        assert max(locks.values(), key=MODES.index) == step.lock, f"{step.what}: {locks}"
    announced = {table.as_string().replace('"', "") for table in step.tables}
    strong = {table for table, mode in locks.items() if MODES.index(mode) > MODES.index("ROW SHARE")}
    assert {table.replace('"', "") for table in strong} <= {
        name for full in announced for name in (full, full.removeprefix("public."))
    }, f"{step.what} locks {strong}"


def _inside(step: Step, walker: Walker) -> dict[str, str]:
    """What the statement has locked when it is over, in a transaction that is then rolled back."""
    connection = walker.connection
    with connection.transaction(force_rollback=True):
        connection.execute(step.statement)
        return _strongest(connection, connection.info.backend_pid)


def _while_it_waits(step: Step, database: str) -> dict[str, str]:
    """What a CONCURRENTLY has locked while it waits for an older transaction; it is then cancelled."""
    with connect(database, "test watch") as watch, connect(database, "test try") as trying:
        pid = trying.info.backend_pid
        with connect(database, "test older") as older, older.transaction():
            older.execute(SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE").format(step.tables[0]))

            def run() -> None:
                with pytest.raises(psycopg.errors.QueryCanceled):
                    trying.execute(step.statement)

            thread = threading.Thread(target=run)
            thread.start()
            until(lambda: _waits(watch, pid), 20, "CONCURRENTLY to wait for the older transaction")
            locks = _strongest(watch, pid)
            watch.execute("SELECT pg_cancel_backend(%s)", [pid])
            thread.join()
        return locks


def _waits(watch: Connection, pid: int) -> bool:
    row = watch.execute(
        "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid]
    ).fetchone()
    return row is not None and bool(row[0])


def _strongest(connection: Connection, pid: int) -> dict[str, str]:
    strongest: dict[str, str] = {}
    for table, mode in connection.cursor(row_factory=tuple_row).execute(HELD, [pid]):
        words = " ".join(re.findall("[A-Z][a-z]+", mode.removesuffix("Lock"))).upper()
        strongest[table] = max(words, strongest.get(table, words), key=MODES.index)
    return strongest


def _text(step: Step) -> str:
    return step.statement.as_string()
