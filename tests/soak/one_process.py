"""Migrations of a SQLite file in a row, all in this process, which tells what it holds after every so many.

`python -m tests.soak.one_process FOLDER MIGRATIONS EVERY` writes a sample a line, as JSON.
"""

import json
import os
import random
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control import steering
from control.conductor import confirm
from control.plan.model import Plan
from control.plan.sections import Backfill
from control.plan.writing import toml
from control.sqlite import conductor
from sql.errors import TenantryError
from sql.sqlite.connection import File
from tests.integration.operating import nobody
from tests.integration.sqlite.conftest import make_graph
from tests.integration.sqlite.graph_plan import plan_of
from tests.integration.sqlite.killing import killed
from tests.soak import measuring
from tests.soak.trend import Sample
from worker import jobs, ledger, logs

NAME = "graph.db"
_FAULT = """
CREATE TRIGGER fault BEFORE UPDATE ON entities WHEN NEW.id LIKE 'e%50' BEGIN SELECT raise(ABORT, 'no'); END
"""


@dataclass
class Churn:
    """A file, and its migrations, each to its end or into trouble, and back."""

    folder: Path
    plan: Plan
    chance: random.Random = field(default_factory=lambda: random.Random(1))

    def migrate(self, nth: int) -> None:
        """The `nth` migration."""
        ways: tuple[Callable[[], None], ...] = (
            self._whole,
            self._into_quarantine,
            self._cancelled,
            self._killed,
            self._to_and_fro,
        )
        ways[nth % len(ways)]()
        with self._controller() as file:
            conductor.rollback(self.plan, file, notify=nobody)

    @contextmanager
    def _controller(self) -> Iterator[File]:
        with conductor.controller(self.plan) as file:
            yield file

    def _run(self, file: File, to: str | None = None) -> None:
        conductor.run(self.plan, file, to=to, throttle=False, notify=nobody)

    def _whole(self) -> None:
        with self._controller() as file:
            self._refused(file)
            confirm(self.plan, file, "application")
            self._run(file)

    def _refused(self, file: File) -> None:
        """A run that waits for something."""
        with pytest.raises(TenantryError):
            self._run(file)

    def _into_quarantine(self) -> None:
        self._do(_FAULT)
        with self._controller() as file:
            self._refused(file)
        self._do("DROP TRIGGER fault")
        with self._controller() as file:
            jobs.release(file, ledger.read(file, self.plan.name).id)
            self._run(file, "indexes")

    def _cancelled(self) -> None:
        with self._controller() as file:
            self._run(file, "columns")
            steering.pause(self.plan, file)
            steering.cancel(self.plan, file)
            self._refused(file)
            steering.resume(self.plan, file)
            self._run(file, "backfill")

    def _killed(self) -> None:
        """Three commands, and what they leave is for this process to take up."""
        for _ in range(3):
            killed(("run", "--no-throttle"), self.folder, str(self.chance.randint(1, 120)))
        with self._controller() as file:
            self._run(file, "indexes")
        if not killed(("rollback", "--yes"), self.folder, str(self.chance.randint(1, 40))):
            with self._controller() as file:
                self._run(file, "columns")

    def _to_and_fro(self) -> None:
        self._whole()
        with self._controller() as file:
            conductor.rollback(self.plan, file, to="columns", notify=nobody)
            self._run(file, "backfill")

    def _do(self, statement: str) -> None:
        with closing(sqlite3.connect(self.folder / NAME)) as connection:
            connection.execute(statement)


def _sample(folder: Path) -> Sample:
    others = [path.name for path in folder.iterdir() if path.name not in {NAME, "migration.toml"}]
    return {
        **measuring.processes("process", [os.getpid()]),
        **{f"beside the file: {name}": 1 for name in others},
        "beside the file: files": len(others),
        "file: size, kB": (folder / NAME).stat().st_size // 1024,
    }


def main() -> None:
    """Write the samples."""
    logs.configure()
    folder, migrations, every = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    path = make_graph(folder / NAME)
    plan = plan_of(path, backfill=Backfill(first_batch=100))
    (folder / "migration.toml").write_text(toml(plan))
    churn = Churn(folder, plan)
    for nth in range(migrations):
        churn.migrate(nth)
        if nth % every == every - 1:
            sys.stdout.write(json.dumps(_sample(folder)) + "\n")


if __name__ == "__main__":
    main()
