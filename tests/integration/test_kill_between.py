"""A controller killed with SIGKILL between two statements, and run again, ends where one that lived does."""

import os
import random

import psycopg
import pytest

from tests.integration.killing import walk_killed
from tests.integration.operating import Operator
from tests.integration.rows import rows_of

#: Statements of one attempt among which a point lies, by schema: a later attempt has fewer left to take. The
#: way back has fewer from the beginning, and once it is at its end there is nothing left to kill.
_WITHIN = {"sample": 50, "odd": 120, "large": 1_500}
_WITHIN_BACK = {"sample": 25, "odd": 30, "large": 300}
#: Under `full` so many points there, and as many on the way back.
_MANY = {"odd": 24, "large": 3}
_SECONDS = {"sample": 900, "odd": 900, "large": 2_400}


def _killed_and_alive(operator: Operator, points: dict[str, list[int | str]], seconds: float) -> list[int]:
    """Walk there and back without a kill, and again with them; how often it was killed on each way."""

    def walk(direction: str, at: list[int | str]) -> list[str]:
        return walk_killed(direction, operator.url, operator.queue, operator.plan, at, timeout=seconds)

    def look() -> tuple[str, object]:
        return operator.schema("--exclude-schema=tenantry"), rows_of(operator.url)

    whole = operator.schema()
    before = look()
    walk("there", [])
    end = look()
    walk("back", [])
    assert operator.schema() == whole
    assert look() == before

    there = walk("there", points["there"])
    assert look() == end, there
    with psycopg.connect(operator.url) as session:
        assert session.execute("SELECT state FROM tenantry.migrations").fetchall() == [("complete",)]
    back = walk("back", points["back"])
    assert operator.schema() == whole, back
    assert look() == before, back
    return [len(there), len(back)]


def _seeded(schema: str, number: int) -> dict[str, list[int | str]]:
    choice = random.Random(os.environ.get("SEED", "1"))
    ways = {"there": _WITHIN[schema], "back": _WITHIN_BACK[schema]}
    return {way: list(choice.sample(range(1, within), number)) for way, within in ways.items()}


@pytest.mark.parametrize("quiet_operator", ["sample", "odd"], indirect=True)
def test_a_controller_killed_at_a_few_points_ends_where_one_that_lives_does(
    quiet_operator: Operator, request: pytest.FixtureRequest
) -> None:
    schema = request.node.callspec.params["quiet_operator"]
    times = _killed_and_alive(quiet_operator, _seeded(schema, 3), 280)
    assert min(times) > 0


@pytest.mark.full
@pytest.mark.timeout(2_000)
@pytest.mark.parametrize("quiet_operator", ["sample"], indirect=True)
def test_a_controller_killed_between_any_two_statements_ends_where_one_that_lives_does(
    quiet_operator: Operator, request: pytest.FixtureRequest
) -> None:
    schema = request.node.callspec.params["quiet_operator"]
    times = _killed_and_alive(quiet_operator, {"there": ["each"], "back": ["each"]}, _SECONDS[schema])
    assert min(times) > 60, "it was killed before and after every statement of a stage"


@pytest.mark.full
@pytest.mark.timeout(5_000)
@pytest.mark.parametrize("quiet_operator", _MANY, indirect=True)
def test_a_controller_killed_at_many_points_ends_where_one_that_lives_does(
    quiet_operator: Operator, request: pytest.FixtureRequest
) -> None:
    schema = request.node.callspec.params["quiet_operator"]
    times = _killed_and_alive(quiet_operator, _seeded(schema, _MANY[schema]), _SECONDS[schema])
    assert min(times) > _MANY[schema] // 3
