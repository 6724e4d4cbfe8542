"""A run or a way back that is killed with SIGKILL at any statement loses nothing and comes to its end."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.sqlite import walks
from tests.integration.sqlite.contents import contents
from tests.integration.sqlite.killing import BEHIND_THE_SWITCH
from tests.integration.sqlite.walks import BACK, NAME, THERE, Before

KINDS = ("sample", "odd_file")
_FEW, _SHARDS = 5, 12
_SEED = int(os.environ.get("SEED", "1"))


@dataclass(frozen=True)
class World:
    """A file at the start of a way, what it held before, and what a walk undisturbed comes to."""

    start: Path
    before: Before
    points: Sequence[tuple[int, str]]
    schema: object


@pytest.fixture(scope="module")
def there(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    start = walks.ready(request.param, tmp_path_factory.mktemp("there") / "start")
    before = Before(start)
    walked = walks.copied(start, "walked")
    points = walks.points(THERE, walked)
    before.kept_in(walked)
    walks.complete(walked)
    return World(start, before, points, schema_of(walked))


@pytest.fixture(scope="module")
def back(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    start = walks.ready(request.param, tmp_path_factory.mktemp("back") / "start")
    before = Before(start)
    walks.through(THERE, start)
    walked = walks.copied(start, "walked")
    points = walks.points(BACK, walked)
    before.back_in(walked)
    return World(start, before, points, before.whole.schema)


def schema_of(folder: Path) -> object:
    """Every statement of the schema that a migration comes to, the ledger's own left out."""
    return [row for row in contents(folder / NAME).schema if not row[2].startswith("tenantry_")]


def killed_there(world: World, at: int, point: str) -> None:
    folder = walks.copied(world.start, f"killed at {at} {point}")
    assert walks.killed_and_through(THERE, at, point, folder) or point.startswith("op")
    world.before.kept_in(folder)
    walks.complete(folder)
    assert schema_of(folder) == world.schema


def killed_back(world: World, at: int, point: str) -> None:
    folder = walks.copied(world.start, f"killed at {at} {point}")
    walks.killed_and_through(BACK, at, point, folder)
    world.before.back_in(folder)


def some(points: Sequence[tuple[int, str]], count: int) -> Iterator[tuple[int, str]]:
    """A few points, chosen by the seed."""
    yield from random.Random(_SEED).sample(list(points), min(count, len(points)))


@pytest.mark.parametrize("there", KINDS, indirect=True)
def test_a_run_killed_at_a_few_points_keeps_every_value_and_comes_to_the_same_end(there: World) -> None:
    for at, point in some(there.points, _FEW):
        killed_there(there, at, point)


@pytest.mark.parametrize("back", KINDS, indirect=True)
def test_a_way_back_killed_at_a_few_points_comes_to_the_file_as_it_was(back: World) -> None:
    for at, point in some(back.points, _FEW):
        killed_back(back, at, point)


@pytest.mark.parametrize("there", ["odd_file"], indirect=True)
def test_a_run_killed_behind_the_first_of_two_switches_leaves_the_finished_tables_alone(there: World) -> None:
    killed_there(there, len(THERE) - 1, BEHIND_THE_SWITCH)


@pytest.mark.full
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("there", KINDS, indirect=True)
def test_a_run_killed_at_any_point_keeps_every_value_and_comes_to_the_same_end(
    there: World, shard: int
) -> None:
    for at, point in there.points[shard::_SHARDS]:
        killed_there(there, at, point)


@pytest.mark.full
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("back", KINDS, indirect=True)
def test_a_way_back_killed_at_any_point_comes_to_the_file_as_it_was(back: World, shard: int) -> None:
    for at, point in back.points[shard::_SHARDS]:
        killed_back(back, at, point)
