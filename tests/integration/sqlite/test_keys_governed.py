"""`keys` obey what the backfill obeys: the plan's own signal, its hours and its rate, and the operator."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from control import steering
from control.plan.governor import Governor
from control.plan.model import Plan
from control.plan.sections import Backfill
from control.sqlite import conductor
from sql.errors import CancelledError
from sql.sqlite.connection import File, connect
from tests.integration.sqlite.keyed import World, graph, ways

_ROWS = 3_000
#: Statements of a run: it shows a sample of the governor's; it asks whether it may go on; it begins, with no
#: transaction open yet, so that another connection can write.
_SAMPLE, _MAY_GO_ON = "INSERT INTO tenantry_governor", "SELECT state FROM tenantry_migrations"
_BEGIN = "BEGIN"

#: A query of the plan's own that holds while it says more than 5.
_BUSY = Governor(query="SELECT n FROM busy", max_query=3, stop_query=5)

both_ways = pytest.mark.parametrize("online", [True, False], ids=["in batches", "at once"])


def _run(
    world: World,
    hooks: Mapping[str, Callable[[], None]],
    *,
    online: bool = True,
    throttle: bool = True,
    **update: Any,
) -> None:
    """Take a filled file's tables to their keys, `online` or at once.

    A hook is called before each of its statements that begins like that.
    """
    plan = world.plan.model_copy(update=update)
    failed: list[Exception] = []

    def traced(sent: str) -> None:
        for beginning, hook in hooks.items():
            if sent.startswith(beginning):
                try:
                    hook()
                except Exception as error:  # noqa: BLE001  # SQLite drops what a trace raises
                    failed.append(error)
                    file.raw.interrupt()

    with ways(online=online), conductor.controller(plan) as file:
        file.raw.set_trace_callback(traced)
        conductor.run(plan, file, to="keys", throttle=throttle, notify=lambda _line: None)
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
    """How many rows the new table holds; none, as long as it isn't there."""
    there = world.ask("SELECT 1 FROM sqlite_schema WHERE name = 'tenantry_new_1_0'")
    return int(world.ask("SELECT count(*) FROM tenantry_new_1_0")[0][0]) if there else 0


def _steer(world: World, word: Callable[[Plan, File], None]) -> None:
    with connect(f"sqlite:///{world.path}") as file:
        word(world.plan, file)


def _at_keys(world: World) -> bool:
    return world.ask("SELECT state FROM tenantry_stages WHERE name = 'keys'") == [("running",)]


def _is_keyed(world: World) -> bool:
    return "PRIMARY KEY (" in str(world.ask("SELECT sql FROM sqlite_schema WHERE name = 'entities'"))


@both_ways
def test_keys_are_held_by_the_plans_own_query_and_shown_and_go_on_with_it(
    tmp_path: Path,
    online: bool,  # noqa: FBT001  # pytest's
) -> None:
    world = _filled(tmp_path)
    world.ask("CREATE TABLE busy AS SELECT 9 AS n")
    seen: list[tuple[str, int]] = []

    def look() -> None:
        if held := _held(world):
            seen.append((held, _copied(world)))
            assert not _is_keyed(world)
            world.ask("UPDATE busy SET n = 0")

    _run(world, {_BEGIN: look}, online=online, governor=_BUSY)
    held, copied = seen[0]
    assert "the plan's own query: 9" in held
    assert copied == 0
    assert world.ask("SELECT count(*) FROM entities") == [(_ROWS,)]
    assert _held(world) == ""
    assert world.is_sound()


@both_ways
def test_nothing_is_copied_outside_the_hours_of_the_plan(
    tmp_path: Path,
    online: bool,  # noqa: FBT001  # pytest's
) -> None:
    world = _filled(tmp_path)
    seen: list[tuple[str, int]] = []

    def look() -> None:
        if held := _held(world):
            seen.append((held, _copied(world)))
            _steer(world, steering.cancel)

    with pytest.raises(CancelledError):
        _run(world, {_BEGIN: look}, online=online, backfill=Backfill(active="Mon 00:00-00:01 Etc/GMT+12"))
    assert "outside the hours of the plan" in seen[0][0]
    assert seen[0][1] == 0
    assert not _is_keyed(world)
    assert _held(world) == ""


def test_a_copy_goes_at_the_operators_rate(tmp_path: Path) -> None:
    world = _filled(tmp_path)
    copied: list[int] = []

    def look() -> None:
        copied.append(_copied(world))
        if copied.count(copied[-1]) == 3 and copied[-1]:
            _steer(world, steering.cancel)

    with pytest.raises(CancelledError):
        _run(world, {_BEGIN: look}, governor=Governor(rows_per_second=1))
    assert 0 < copied[-1] < _ROWS


@both_ways
def test_without_throttle_no_signal_is_asked(
    tmp_path: Path,
    online: bool,  # noqa: FBT001  # pytest's
) -> None:
    world = _filled(tmp_path)
    world.ask("CREATE TABLE busy AS SELECT 9 AS n")
    asked: list[str] = []
    hooks = {begun: partial(asked.append, begun) for begun in (_SAMPLE, "SELECT n FROM busy")}
    _run(world, hooks, online=online, throttle=False, governor=_BUSY)
    assert asked == []
    assert _is_keyed(world)
    assert world.is_sound()


@both_ways
def test_keys_pause_where_they_are_and_go_on_when_they_are_told_to(
    tmp_path: Path,
    online: bool,  # noqa: FBT001  # pytest's
) -> None:
    world = _filled(tmp_path)
    seen: list[int] = []

    def pause() -> None:
        if not seen and _at_keys(world) and bool(_copied(world)) == online:
            _steer(world, steering.pause)

    def look() -> None:
        if world.ask("SELECT state FROM tenantry_migrations") == [("paused",)]:
            seen.append(_copied(world))
            assert not _is_keyed(world)
            if len(seen) == 3:
                _steer(world, steering.resume)
        elif online:
            pause()

    _run(world, {_BEGIN: pause, _MAY_GO_ON: look}, online=online)
    assert seen == [seen[0]] * 3
    assert (0 < seen[0] < _ROWS) == online
    assert _is_keyed(world)
    assert world.is_sound()


@both_ways
def test_a_cancel_ends_keys_where_they_are_and_a_run_goes_on_from_there(
    tmp_path: Path,
    online: bool,  # noqa: FBT001  # pytest's
) -> None:
    world = _filled(tmp_path)
    before = world.schema()

    def cancel() -> None:
        if _at_keys(world) and bool(_copied(world)) == online:
            _steer(world, steering.cancel)

    with pytest.raises(CancelledError):
        _run(world, {_MAY_GO_ON if online else _BEGIN: cancel}, online=online)
    assert (0 < _copied(world) < _ROWS) == online
    assert bool(world.ours()) == online
    assert not _is_keyed(world)
    if not online:
        assert world.schema() == before
    _steer(world, steering.resume)
    world.run("keys")
    assert world.ours() == []
    assert _is_keyed(world)
    assert world.is_sound()
