"""The `-- locks:` lines of the statements that change the schema, held against the server's lock table."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL

import sql.postgres
from control.embedded.postgres import EmbeddedPostgres
from control.locks import take
from control.plan.model import Plan
from control.stage import How, Step
from control.stages import columns
from sql.named import load
from sql.postgres.connection import Connection, connect
from tests.integration.walking import FILL_ODD, ODD, ODD_SCHEMA, STAGES, Walker
from tests.lock_table import MODES, named, strongest
from tests.waiting import until

FOLDER = Path(sql.postgres.__file__).parent

_TAG = re.compile(r"/\* tenantry (\w+)\.(\w+) \*/")


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
    lines: set[str] = set()
    for file, name in _TAG.findall(_text(step)):
        lines |= named(getattr(load(FOLDER, file), name))
    assert set(locks.values()) <= lines, f"{step.what}: {locks}, and the line names {lines}"
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
        # A table of the guard's own, made or dropped by the step: nobody else knows it.
        return {t: mode for t, mode in strongest(connection).items() if not t.startswith("tenantry_guard.")}


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
            until(lambda: _waits(watch, pid), "CONCURRENTLY to wait for the older transaction")
            locks = strongest(watch, pid)
            watch.execute("SELECT pg_cancel_backend(%s)", [pid])
            thread.join()
        return locks


def _waits(watch: Connection, pid: int) -> bool:
    row = watch.execute(
        "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s", [pid]
    ).fetchone()
    return row is not None and bool(row[0])


def _text(step: Step) -> str:
    return step.statement.as_string()
