"""Draws `docs/status.svg`, `status --watch` of a real run in the midst of its backfill, and prints it too.

`make picture` runs it. The key whose effect stands above the keys was really pressed.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console, Group

from control.demo import sample
from control.embedded.postgres import start_postgres
from control.watch import sight
from control.watch.pressed import Hand, act
from control.watch.screen import Shown, screen
from control.watch.sight import Sight
from sql.database import Database, connect
from sql.errors import NoMigrationError
from worker import logs

_ENTITIES = 60_000
_COLUMNS, _LINES = 100, 34
_TENANTRY = Path(sys.executable).parent / "tenantry"


def main() -> int:
    """Let a run begin, slow it down by a key, and draw what is seen a little later."""
    logs.configure(stream=sys.stderr)
    with ExitStack() as house:
        folder = Path(house.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-picture-")))
        server = house.enter_context(start_postgres())
        os.environ["DATABASE_URL"] = url = server.url("graph")
        with psycopg.connect(server.url(), autocommit=True) as superuser:
            superuser.execute("CREATE DATABASE graph")
        with psycopg.connect(url, autocommit=True) as filling:
            sample.create(filling)
            sample.fill(filling, entities=_ENTITIES)
        subprocess.run([_TENANTRY, "init"], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
        with (folder / "run.log").open("wb") as log:
            run = subprocess.Popen([_TENANTRY, "run"], cwd=folder, stdout=log, stderr=log)  # noqa: S603  # ours
            house.enter_context(run)
        house.callback(run.terminate)
        look = house.enter_context(connect(url, "picture"))
        shown = _slowed_down(look, run, folder / "migration.toml")
    console = Console(record=True, width=_COLUMNS, height=_LINES)
    console.print(Group(*screen(shown, _COLUMNS, _LINES)))
    console.save_svg(str(Path(__file__).with_name("status.svg")), title="tenantry status --watch")
    return 0


def _slowed_down(look: Database, run: subprocess.Popen[bytes], plan: Path) -> Shown:
    keys = Hand(lambda key: act(key, plan))
    _reached(look, run, 0.2)
    with keys.at_work(30):
        keys.press("-")
    return Shown(_reached(look, run, 0.4), datetime.now(UTC), "PostgreSQL graph", said=keys.said)


def _reached(look: Database, run: subprocess.Popen[bytes], share: float) -> Sight:
    """What is seen once so much of the last table is filled."""
    while run.poll() is None:
        with suppress(NoMigrationError):  # it has not begun
            seen = sight.read(look, "multi-tenancy")
            last = seen.status.tables[-1]
            if last.rows_total and last.rows_done >= share * last.rows_total:
                return seen
        time.sleep(0.1)
    raise RuntimeError(f"the run ended before the picture was drawn, with status {run.returncode}")


if __name__ == "__main__":
    sys.exit(main())
