"""`init` and `check` of a file, as an operator types them."""

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.sqlite.looked import make
from tests.integration.typist import typed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small graph."""
    make(tmp_path)
    return tmp_path


def _typed(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return typed(arguments, folder=folder, environment=environment)


def test_a_proposed_plan_passes_check_with_its_estimates(folder: Path) -> None:
    assert _typed(folder, "init", "--database", "sqlite:///graph.db").returncode == 0
    checked = _typed(folder, "check")
    assert checked.returncode == 0, checked.stderr
    assert "✓ journal mode: WAL" in checked.stdout
    assert "What each stage will cost" in checked.stdout


def test_the_address_may_come_from_the_environment(folder: Path) -> None:
    done = _typed(folder, "init", "--database", "env:GRAPH", GRAPH="sqlite:///graph.db")
    assert done.returncode == 0, done.stderr
    assert 'url = "env:GRAPH"' in (folder / "migration.toml").read_text()
    assert _typed(folder, "check", GRAPH="sqlite:///graph.db").returncode == 0


def test_a_stop_ends_check_with_status_3_and_the_way_out(folder: Path) -> None:
    _typed(folder, "init", "--database", "sqlite:///graph.db")
    with closing(sqlite3.connect(folder / "graph.db")) as opened:
        opened.execute("CREATE VIEW broken AS SELECT * FROM gone")
    checked = _typed(folder, "check", "--json")
    assert checked.returncode == 3
    (stop,) = [finding for finding in json.loads(checked.stdout) if finding["level"] == "stop"]
    assert stop["name"] == "views and triggers"
    assert "mend them" in stop["way_out"]
    assert "preflight waits" in checked.stderr


def test_a_file_that_is_not_there_is_said_and_not_made(folder: Path) -> None:
    done = _typed(folder, "init", "--database", "sqlite:///other.db")
    assert (done.returncode, (folder / "other.db").exists()) == (1, False)
    assert "no such file" in done.stderr
