"""What an operator sees of a run on a file, and says to it, from other processes while it goes on."""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from control import status, steering
from control.demo.show_file import plan_for
from control.exported.series import MIGRATION_STATE, UP
from control.exporter import StatusCollector
from control.plan.governor import Governor
from control.plan.model import Plan
from control.plan.sections import Backfill
from control.plan.writing import toml
from control.status import Status
from sql.errors import NoMigrationError
from tests.integration.addresses import free_port
from tests.integration.sqlite import graph
from tests.integration.sqlite.graph import opened
from tests.integration.terminal import terminal
from tests.waiting import until

TENANTRY = Path(sys.executable).parent / "tenantry"
ENTITIES = 20_000
#: At this rate of the plan's, 60,000 rows would take ten minutes: whoever looks finds the run at work.
RATE = 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the sample and its plan, which is in no hurry."""
    graph.made(tmp_path, ENTITIES)
    plan = slow(plan_for(Path("graph.db")))
    (tmp_path / "migration.toml").write_text(toml(plan))
    return tmp_path


def slow(plan: Plan) -> Plan:
    return plan.model_copy(
        update={"backfill": Backfill(first_batch=100), "governor": Governor(rows_per_second=RATE)}
    )


def typed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TENANTRY, *words], cwd=folder, check=False, capture_output=True, text=True, timeout=120
    )


@contextmanager
def beside(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on beside the test."""
    process = subprocess.Popen(
        [TENANTRY, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def looked(folder: Path) -> Status | None:
    """How it stands; None before it has begun."""
    with opened(folder / "graph.db") as file:
        try:
            return status.read(file, "multi-tenancy")
        except NoMigrationError:
            return None


def done(folder: Path) -> int:
    found = looked(folder)
    return 0 if found is None else sum(table.rows_done for table in found.tables)


def batches(folder: Path) -> int:
    """How many are done."""
    with closing(sqlite3.connect(folder / "graph.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM tenantry_batches WHERE state = 'done'").fetchone()
    return int(count)


def at_work(folder: Path) -> int:
    return until(lambda: done(folder), "the first batch")


def test_a_run_pauses_where_it_is_and_goes_on_when_it_is_told_to(folder: Path) -> None:
    plan = slow(plan_for(folder / "graph.db"))
    with beside(folder, "run", "--to", "backfill") as run:
        at_work(folder)
        with opened(folder / "graph.db") as file:
            steering.pause(plan, file)
            at_the_pause = batches(folder)
            shown: dict[str, Any] = json.loads(typed(folder, "status", "--json").stdout)
            assert (shown["state"], shown["workers_alive"]) == ("paused", 1)
            rows = {table["name"]: table["rows_done"] for table in shown["tables"]}
            assert 0 < sum(rows.values()) < 3 * ENTITIES
            assert run.poll() is None
            # The one that had asked the ledger just before may still have come.
            assert batches(folder) <= at_the_pause + 1
            steering.resume(plan, file)
            steering.tune(plan, file, {"rows_per_second": "none"})
        assert run.wait(timeout=60) == 0
    ended = looked(folder)
    assert ended is not None
    assert [(table.rows_done, table.rows_remaining) for table in ended.tables] == [
        (ENTITIES, 0),
        (2 * ENTITIES, 0),
    ]


def test_what_is_tuned_reaches_the_next_batches_of_a_run(folder: Path) -> None:
    with beside(folder, "run", "--to", "backfill") as run:
        at_work(folder)
        tuned = typed(folder, "tune", "rows_per_second=none")
        assert tuned.returncode == 0, tuned.stderr
        assert run.wait(timeout=120) == 0
    assert f"rows_per_second from {RATE} (the plan's) to none" in typed(folder, "events").stdout


def test_a_run_on_a_file_is_watched_and_steered_by_keys(folder: Path) -> None:
    environment = os.environ | {"TERM": "xterm-256color"}
    with beside(folder, "run", "--to", "backfill"):
        at_work(folder)
        with terminal(
            [TENANTRY, "status", "--watch"], folder=folder, environment=environment, size=(100, 30)
        ) as screen:
            seen = screen.shows("q \x1b[0m quit")
            for named in ("▶ backfill", "relations", f"at most {RATE} rows/s", "workers: 1", "columns done"):
                assert named in seen
            screen.press("+")
            screen.shows(f"at most 120 rows/s, before {RATE}")
            screen.press("p")
            screen.shows("‖ paused")
            found = looked(folder)
            assert found is not None
            assert (found.state, found.tuned) == ("paused", {"rows_per_second": 120})
            screen.press("q")
            assert screen.ends() == 0
            assert screen.settings == screen.before


def test_rows_without_a_tenant_are_set_aside_shown_and_filled_once_they_are_mended(folder: Path) -> None:
    strange = ("entity-0000000007", "entity-0000000008", "entity-0000000999")
    with closing(sqlite3.connect(folder / "graph.db")) as connection:
        connection.execute(
            "UPDATE entities SET properties = json_set(properties, '$.org_id', 'not a tenant!') "
            f"WHERE id IN {strange}"
        )
        connection.commit()
    plan = toml(plan_for(Path("graph.db")))
    assert "legacy_default" in plan
    (folder / "migration.toml").write_text(plan.replace(', otherwise = "legacy_default"', ""))
    ran = typed(folder, "run")
    assert ran.returncode == 4, ran.stderr
    with scraped(folder) as series:
        assert 'tenantry_quarantine_rows{migration="multi-tenancy"} 3.0' in series
        assert "tenantry_up 1.0" in series
        assert 'tenantry_stage_state{migration="multi-tenancy",stage="columns",state="done"} 1.0' in series
        assert (
            f'tenantry_table_rows_updated{{migration="multi-tenancy",table="entities"}} {ENTITIES - 3}.0'
            in series
        )
    shown = json.loads(typed(folder, "quarantine", "--json").stdout)
    # A file keeps its tables by the rowid, and by that it names a row.
    assert {row["key"]["rowid"] for row in shown["rows"]} == {"7", "8", "999"}
    with closing(sqlite3.connect(folder / "graph.db")) as connection:
        connection.execute(
            "UPDATE entities SET properties = json_set(properties, '$.org_id', 'org-07') "
            f"WHERE id IN {strange}"
        )
        connection.commit()
    assert typed(folder, "retry").returncode == 0
    assert typed(folder, "run").returncode == 3
    with scraped(folder) as series:
        assert 'tenantry_quarantine_rows{migration="multi-tenancy"} 0.0' in series
        assert 'tenantry_table_rows_remaining{migration="multi-tenancy",table="relations"} 0.0' in series
        assert 'stage="backfill",state="done"} 1.0' in series
        assert 'stage="application",state="waiting"} 1.0' in series


def test_what_is_shown_is_of_the_file_that_is_there_now(folder: Path) -> None:
    assert typed(folder, "run", "--to", "preflight").returncode == 0
    file = folder / "graph.db"
    with closing(StatusCollector(f"sqlite:///{file}", "multi-tenancy")) as collector:
        assert MIGRATION_STATE.name in _samples(collector)
        (elsewhere := folder / "elsewhere").mkdir()
        graph.made(elsewhere, 250)
        (elsewhere / "graph.db").replace(file)
        for part in ("wal", "shm"):
            (folder / f"graph.db-{part}").unlink(missing_ok=True)
        assert _samples(collector) == {UP.name}


def _samples(collector: StatusCollector) -> set[str]:
    """The names of the series that a scrape has samples of."""
    return {sample.name for family in collector.collect() for sample in family.samples}


@contextmanager
def scraped(folder: Path) -> Iterator[str]:
    """What the exporter says."""
    port = free_port()
    with beside(folder, "exporter", "--port", str(port)):
        yield until(lambda: _answer(port), "the exporter")


def _answer(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.URLError:
        return ""


def test_a_worker_of_its_own_is_refused(folder: Path) -> None:
    ended = typed(folder, "worker")
    assert ended.returncode == 2
    assert "a SQLite file has one writer at a time" in ended.stderr
