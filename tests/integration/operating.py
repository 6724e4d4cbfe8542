"""An operator who types commands in a folder with a plan of the sample."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from control import conductor
from control.embedded.postgres import EmbeddedPostgres
from control.plan.reading import read_plan
from control.queue import namespace_of
from control.rollback import rollback
from control.worker_pool import workers
from tests.integration.typist import typed
from tests.waiting import until
from worker.broker import doorbell

TENANTRY = Path(sys.executable).parent / "tenantry"


@dataclass(frozen=True)
class Operator:
    """An operator in a folder with a plan of the sample."""

    folder: Path
    url: str
    server: EmbeddedPostgres
    queue: str

    @property
    def plan(self) -> Path:
        """The plan."""
        return self.folder / "migration.toml"

    @property
    def said(self) -> Path:
        """What the command that was started last says."""
        return self.folder / "said"

    def edit(self, was: str, now: str) -> None:
        """Edit the plan."""
        text = self.plan.read_text()
        assert was in text
        self.plan.write_text(text.replace(was, now))

    def tenantry(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        return typed(arguments, folder=self.folder, environment=self.environment)

    def done(self, *arguments: str) -> str:
        """Type a command that must end well; its output."""
        ended = self.tenantry(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Type a command that goes on meanwhile; it is interrupted at the end, if it still does.

        What it says on standard error goes into the file `said`.
        """
        with (
            self.said.open("w") as said,
            subprocess.Popen(
                [TENANTRY, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()

    def run_to(self, stage: str, *, count: int = 0) -> None:
        """Run as far as a stage, with so many workers of its own: what tests begin from."""
        plan = read_plan(self.plan)
        space = namespace_of(plan)
        with (
            conductor.controller(plan) as connection,
            workers(count, database_url=self.url, redis_url=self.queue, namespace=space),
        ):
            if stage in {"keys", "rls"}:
                conductor.confirm(plan, connection, "application")
            pid = connection.info.backend_pid
            conductor.run(plan, connection, doorbell(self.queue, space), to=stage, notify=nobody)
        # A server that is busy lets go of the migration a moment after the connection is closed.
        gone = "SELECT (count(*) = 0)::int FROM pg_stat_activity WHERE pid = "
        until(lambda: self.count(f"{gone}{pid}"), "the controller's end")

    def back_to(self, stage: str | None, notify: Callable[[str], None]) -> None:
        """Walk back to a stage, or to the start."""
        plan = read_plan(self.plan)
        with conductor.controller(plan) as connection:
            rollback(plan, connection, to=stage, notify=notify)

    @property
    def environment(self) -> dict[str, str]:
        """Where the database's address is."""
        return os.environ | {"DATABASE_URL": self.url}

    def schema(self, *options: str) -> str:
        """The schema as it is."""
        return self.server.run("pg_dump", "--schema-only", "--restrict-key=x", *options, self.url).stdout

    def count(self, query: str) -> int:
        """Ask for one number."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])


def nobody(_line: str) -> None:
    """Nobody listens."""


def complaint(stderr: str) -> str:
    """The one line that is no log."""
    (line,) = [line for line in stderr.splitlines() if not line.startswith("{")]
    return line
