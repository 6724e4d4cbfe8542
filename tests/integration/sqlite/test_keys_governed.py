"""The copy of `keys` obeys what the backfill obeys: the plan's own signal, its hours and its rate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control import steering
from control.plan.governor import Governor
from control.plan.model import Backfill
from control.sqlite import conductor
from sql.errors import CancelledError
from sql.sqlite.connection import connect
from tests.integration.sqlite.keyed import World, graph, ways

_ROWS = 3_000


def _run(world: World, beside: Callable[[], None], **update: Any) -> None:
    """Take a filled file's tables to their keys beside everybody; `beside` is called at each sample."""
    plan = world.plan.model_copy(update=update)
    failed: list[Exception] = []

    def traced(sent: str) -> None:
        if sent.startswith("INSERT INTO tenantry_governor"):
            try:
                beside()
            except Exception as error:  # noqa: BLE001  # SQLite drops what a trace raises
                failed.append(error)
                file.raw.interrupt()

    with ways(online=True), conductor.controller(plan) as file:
        file.raw.set_trace_callback(traced)
        conductor.run(plan, file, to="keys", notify=lambda _line: None)
    if failed:
        raise failed[0]


def _filled(folder: Path) -> World:
    world = graph(folder, _ROWS)
    world.fill()
    return world


def _held(world: World) -> str:
    ((held,),) = world.ask("SELECT coalesce(held, '') FROM tenantry_migrations")
    return str(held)


def _copied(world: World) -> int:
    return int(world.ask("SELECT count(*) FROM tenantry_new_1_0")[0][0])


def _cancel(world: World) -> None:
    with connect(f"sqlite:///{world.path}") as file:
        steering.cancel(world.plan, file)


def test_a_copy_is_held_by_the_plans_own_query_and_shown_and_goes_on_with_it(tmp_path: Path) -> None:
    world = _filled(tmp_path)
    world.ask("CREATE TABLE busy AS SELECT 9 AS n")
    seen: list[tuple[str, int]] = []

    def look() -> None:
        if held := _held(world):
            seen.append((held, _copied(world)))
            world.ask("UPDATE busy SET n = 0")

    _run(world, look, governor=Governor(query="SELECT n FROM busy", max_query=3, stop_query=5))
    held, copied = seen[0]
    assert "the plan's own query: 9" in held
    assert copied == 0
    assert world.ask("SELECT count(*) FROM entities") == [(_ROWS,)]
    assert _held(world) == ""
    assert world.is_sound()


def test_nothing_is_copied_outside_the_hours_of_the_plan(tmp_path: Path) -> None:
    world = _filled(tmp_path)
    seen: list[tuple[str, int]] = []

    def look() -> None:
        if held := _held(world):
            seen.append((held, _copied(world)))
            _cancel(world)

    with pytest.raises(CancelledError):
        _run(world, look, backfill=Backfill(active="Mon 00:00-00:01 Etc/GMT+12"))
    assert "outside the hours of the plan" in seen[0][0]
    assert seen[0][1] == 0
    assert _held(world) == ""


def test_a_copy_goes_at_the_operators_rate(tmp_path: Path) -> None:
    world = _filled(tmp_path)
    copied: list[int] = []

    def look() -> None:
        copied.append(_copied(world))
        if copied.count(copied[-1]) == 3 and copied[-1]:
            _cancel(world)

    with pytest.raises(CancelledError):
        _run(world, look, governor=Governor(rows_per_second=1))
    assert 0 < copied[-1] < _ROWS
