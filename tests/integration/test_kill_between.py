"""A controller killed with SIGKILL between two statements, and run again, ends where one that lived does."""

import os
import random

import psycopg
import pytest

from tests.integration.killing import walk_killed
from tests.integration.operating import Operator
from tests.integration.rows import rows_of

#: A point lies among so many statements from the start of its attempt; three lie on the way there or back.
_WITHIN = 50


@pytest.fixture
def quiet_operator(operator: Operator) -> Operator:
    """An operator whose plan waits for hardly any quiet time."""
    operator.edit('quiet = "1s"', 'quiet = "100ms"')
    return operator


def _end_of_a_run_that_lives(operator: Operator) -> str:
    walk_killed("there", operator.url, operator.queue, operator.plan, [])
    end = operator.schema("--exclude-schema=tenantry")
    walk_killed("back", operator.url, operator.queue, operator.plan, [])
    return end


@pytest.mark.parametrize(
    "points",
    [
        pytest.param("seeded", id="at three points"),
        pytest.param("each", id="after every statement", marks=[pytest.mark.full, pytest.mark.timeout(900)]),
    ],
)
def test_a_controller_killed_between_statements_ends_where_one_that_lives_does(
    quiet_operator: Operator, points: str
) -> None:
    operator = quiet_operator
    choice = random.Random(os.environ.get("SEED", "1"))
    there: list[int | str] = ["each"] if points == "each" else choice.sample(range(1, _WITHIN), 3)
    back: list[int | str] = ["each"] if points == "each" else choice.sample(range(1, _WITHIN), 3)
    before = operator.schema(), rows_of(operator.url)
    end = _end_of_a_run_that_lives(operator)
    assert (operator.schema(), rows_of(operator.url)) == before

    killed = walk_killed("there", operator.url, operator.queue, operator.plan, there)
    assert operator.schema("--exclude-schema=tenantry") == end, killed
    assert len(killed) > (20 if points == "each" else 1), killed
    with psycopg.connect(operator.url) as look:
        assert look.execute("SELECT state FROM tenantry.migrations").fetchall() == [("complete",)]
        unfilled = "SELECT count(*) FROM graph_relations WHERE tenant_id = ''"
        look.execute("SET row_security = off")
        assert look.execute(unfilled).fetchall() == [(0,)]

    killed = walk_killed("back", operator.url, operator.queue, operator.plan, back)
    assert (operator.schema(), rows_of(operator.url)) == before, killed
    assert len(killed) > (20 if points == "each" else 1), killed
