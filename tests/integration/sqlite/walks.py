"""A migration of a file by commands of processes of their own, and what must hold of it."""

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from control.demo.show_file import plan_for
from control.plan.sections import Backfill, Verify
from control.plan.writing import toml
from sql.sqlite.integrity import faults
from tests import schemas
from tests.integration.sqlite import graph, killing
from tests.integration.sqlite.contents import Columns, Contents, columns_of, contents

THERE: Sequence[Sequence[str]] = (
    ("run", "--no-throttle"),
    ("confirm", "application"),
    ("run", "--no-throttle"),
)
BACK: Sequence[Sequence[str]] = (("rollback", "--yes"),)
NAME = "graph.db"


def ready(kind: str, folder: Path) -> Path:
    """A folder with a file and its plan: the `sample`, or the `odd_file` of `tests/schemas`."""
    folder.mkdir()
    if kind == "sample":
        graph.made(folder)
        plan = plan_for(Path(NAME)).model_copy(
            update={"backfill": Backfill(first_batch=100), "verify": Verify(quiet="1ms")}
        )
        (folder / "migration.toml").write_text(toml(plan))
    else:
        with closing(sqlite3.connect(folder / NAME)) as connection:
            connection.executescript(schemas.statements(kind))
        (folder / "migration.toml").write_text(schemas.plan(kind))
    return folder


def copied(folder: Path, name: str) -> Path:
    """A copy of a folder in which nothing is at work, beside it."""
    return Path(shutil.copytree(folder, folder.with_name(name)))


class Before:
    """What a file held before its migration."""

    def __init__(self, folder: Path) -> None:
        self.whole: Contents = contents(folder / NAME)
        with closing(sqlite3.connect(folder / NAME)) as connection:
            self.columns: Columns = columns_of(connection)
            self.counters = _counters(connection)

    def kept_in(self, folder: Path) -> None:
        """Every row is there, with its rowid, and the value of every column that was there before."""
        assert contents(folder / NAME, self.columns).rows == self.whole.rows
        with graph.opened(folder / NAME) as file:
            assert faults(file, most=5) == []
        with closing(sqlite3.connect(folder / NAME)) as connection:
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert _counters(connection) == self.counters

    def back_in(self, folder: Path) -> None:
        """Everything is as it was, to the byte of each statement of the schema, and nothing else is there."""
        self.kept_in(folder)
        assert contents(folder / NAME) == self.whole
        assert {path.name for path in folder.iterdir()} <= {NAME, "migration.toml", "tenantry.log"}


def _counters(connection: sqlite3.Connection) -> list[tuple[str, int]]:
    """Where AUTOINCREMENT goes on, where there is such a table."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchall():
        return []
    return connection.execute("SELECT name, seq FROM sqlite_sequence ORDER BY name").fetchall()


def through(commands: Sequence[Sequence[str]], folder: Path) -> None:
    """Run commands one after the other, each to its end."""
    for command in commands:
        killing.ended(command, folder)


def killed_and_through(commands: Sequence[Sequence[str]], at: int, point: str, folder: Path) -> bool:
    """Run commands, the one `at` this place killed at a point and then run again; whether it was killed."""
    through(commands[:at], folder)
    killed = killing.killed(commands[at], folder, point)
    through(commands[at:] if killed else commands[at + 1 :], folder)
    return killed


def points(commands: Sequence[Sequence[str]], folder: Path) -> list[tuple[int, str]]:
    """Run the commands to their end: every place and point at which one could have been killed."""
    return [(at, point) for at, command in enumerate(commands) for point in killing.points(command, folder)]


def complete(folder: Path) -> None:
    """The ledger has every range of every table once, done, and every row has its tenant."""
    with closing(sqlite3.connect(folder / NAME)) as connection:
        jobs = connection.execute(
            "SELECT id, part, state, last_key FROM tenantry_jobs WHERE kind = 'fill'"
        ).fetchall()
        assert jobs
        for job, part, state, last_key in jobs:
            assert state == "complete", part
            assert connection.execute(
                "SELECT DISTINCT state FROM tenantry_batches WHERE job_id = ? AND state <> 'split'", (job,)
            ).fetchall() == [("done",)]
            cut = connection.execute(
                "SELECT lower, upper FROM tenantry_batches "
                "WHERE job_id = ? AND origin = 'plan' AND split_from IS NULL ORDER BY id",
                (job,),
            ).fetchall()
            assert cut[0][0] is None, part
            assert all(before[1] == after[0] for before, after in pairwise(cut)), part
            assert cut[-1][1] == last_key, part
            assert connection.execute(
                f'SELECT count(*) FROM "{part}" WHERE tenant_id IS NULL'
            ).fetchall() == [(0,)]
        assert connection.execute("SELECT count(*) FROM tenantry_quarantine").fetchall() == [(0,)]
