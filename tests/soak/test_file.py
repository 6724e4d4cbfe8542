"""Hundreds of small migrations of a SQLite file in one process: nothing grows, in it or beside the file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.conftest import Judge
from tests.soak.trend import Allowance

pytestmark = [pytest.mark.soak, pytest.mark.timeout(0)]

MIGRATIONS = int(os.environ.get("MIGRATIONS", "100"))
_SAMPLES = 40
_ALLOWED = {
    "*: RSS, kB": Allowance(2_500, 0.03),
    "*: memory of its own, kB": Allowance(2_500, 0.03),
    "*": Allowance(),
}


def test_many_small_migrations_of_a_file_leave_nothing_that_grows(tmp_path: Path, judge: Judge) -> None:
    every = max(1, MIGRATIONS // _SAMPLES)
    folder = tmp_path / "folder"
    folder.mkdir()
    with (tmp_path / "said").open("w") as said:
        done = subprocess.run(
            [sys.executable, "-m", "tests.soak.one_process", str(folder), str(MIGRATIONS), str(every)],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=said,
            check=True,
            text=True,
        )
    judge([json.loads(line) for line in done.stdout.splitlines()], _ALLOWED)
