"""A run that is killed within the keys, anywhere, goes on from there; nobody's rows are ever away."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from control.plan.reading import read_plan
from sql.sqlite.connection import File, Parameters
from tests.integration.sqlite.keyed import World, graph, ways

ROWS = "SELECT rowid, id, source_id, target_id, weight, tenant_id FROM relations ORDER BY rowid"


def _killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do it in a process of its own that is killed before its statement of that number; whether it was."""
    child = os.fork()
    if child == 0:
        left = number
        execute = File.execute

        def counted(file: File, statement: str, parameters: Parameters = ()) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return execute(file, statement, parameters)

        File.execute = counted  # type: ignore[method-assign,assignment]
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _copy(there: World, folder: Path) -> World:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for suffix in ("", "-wal"):
        if (source := Path(f"{there.path}{suffix}")).exists():
            shutil.copy(source, folder / f"graph.db{suffix}")
    plan = (there.path.parent / "migration.toml").read_text(encoding="utf-8")
    (folder / "migration.toml").write_text(
        plan.replace(str(there.path), str(folder / "graph.db")), encoding="utf-8"
    )
    return replace(there, path=folder / "graph.db", plan=read_plan(folder / "migration.toml"))


def _walk(there: World, folder: Path, step: int, *, back: bool) -> int:
    """Kill at every `step`-th statement, each on a copy of the file, and go on; how many were killed."""
    with_keys = there.schema()
    rows = there.ask(ROWS)
    number = killed = 0
    while True:
        copy = _copy(there, folder)
        end = partial(copy.rollback, "application") if back else partial(copy.run, "keys")
        if not _killed_at(number, end):
            return killed
        killed += 1
        assert copy.ask(ROWS) == rows, number
        assert copy.ask("PRAGMA integrity_check") == [("ok",)], number
        end()
        assert copy.ask(ROWS) == rows, number
        assert copy.is_sound(), number
        assert not copy.ours(), number
        assert (copy.schema() == with_keys) is False, number
        number += step


@pytest.mark.parametrize("online", [False, True], ids=["at once", "beside writers"])
@pytest.mark.parametrize(
    "step", [pytest.param(61, id="a few"), pytest.param(1, id="every statement", marks=pytest.mark.full)]
)
def test_a_run_that_is_killed_goes_on(tmp_path: Path, step: int, *, online: bool) -> None:
    there = graph(tmp_path, 60)
    with ways(online=online):
        there.fill()
        assert _walk(there, tmp_path / "copy", step, back=False) > 2


@pytest.mark.parametrize("online", [False, True], ids=["at once", "beside writers"])
@pytest.mark.parametrize(
    "step", [pytest.param(61, id="a few"), pytest.param(1, id="every statement", marks=pytest.mark.full)]
)
def test_a_way_back_that_is_killed_goes_on(tmp_path: Path, step: int, *, online: bool) -> None:
    there = graph(tmp_path, 60)
    with ways(online=online):
        there.fill()
        there.run("keys")
        assert _walk(there, tmp_path / "copy", step, back=True) > 2
