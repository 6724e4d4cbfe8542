"""Columns, indexes and keys: there, back, and broken off in between."""

import os
import random
from collections.abc import Iterator

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns, indexes, keys
from sql.postgres.connection import connect
from tests.integration.walking import FILL_ODD, FILL_SAMPLE, ODD, ODD_SCHEMA, SAMPLE, STAGES, Walker

Filled = tuple[Walker, str]


@pytest.fixture(params=["sample", "odd"])
def filled(request: pytest.FixtureRequest, postgres: EmbeddedPostgres) -> Iterator[Filled]:
    """A walker at the start, and the statement that stands in for the backfill."""
    url = request.getfixturevalue("sample" if request.param == "sample" else "database")
    with connect(url, "test") as connection:
        if request.param == "odd":
            connection.execute(ODD_SCHEMA)
        plan, fill = (SAMPLE, FILL_SAMPLE) if request.param == "sample" else (ODD, FILL_ODD)
        yield Walker(connection, Plan.model_validate(plan), postgres), fill


@pytest.fixture
def walker(filled: Filled) -> Walker:
    """A walker whose tables have their tenants, just before the indexes."""
    walker, fill = filled
    walker.there(columns.STAGE)
    walker.connection.execute(fill)
    return walker


def test_each_stage_goes_back_to_the_schema_it_came_from(filled: Filled) -> None:
    walker, fill = filled
    schemas = [walker.schema()]
    for stage in STAGES:
        walker.there(stage)
        schemas.append(walker.schema())
        if stage is columns.STAGE:
            walker.connection.execute(fill)
    assert len(set(schemas)) == len(STAGES) + 1, "every stage changes something"

    for stage in reversed(STAGES):
        walker.back(stage)
        schemas.pop()
        if stage is not keys.STAGE:
            assert walker.schema() == schemas[-1], stage.name
    assert walker.live() == walker.original.model_copy(update={"tables": walker.live().tables})


def test_keys_go_back_to_the_schema_before_their_unique_indexes(walker: Walker) -> None:
    before = walker.schema()
    walker.there(keys.STAGE)
    walker.back(keys.STAGE)
    assert walker.schema() == before


def test_a_walk_killed_after_every_single_step_ends_in_the_same_schema(filled: Filled) -> None:
    walker, fill = filled
    ends = []
    for most in (None, 1):
        for stage in STAGES:
            while walker.there(stage, most=most):
                pass
            if stage is columns.STAGE:
                walker.connection.execute(fill)
        ends.append(walker.schema())
        for stage in reversed(STAGES):
            while walker.back(stage, most=most):
                pass
        ends.append(walker.schema())
    assert ends[:2] == ends[2:]


def test_the_keys_come_back_from_any_step_of_the_way_there(walker: Walker) -> None:
    before = walker.schema()
    length = len(walker.there(keys.STAGE))
    walker.back(keys.STAGE)
    for steps in _points(walker, length):
        assert len(walker.there(keys.STAGE, most=steps)) == steps
        walker.back(keys.STAGE)
        assert walker.schema() == before, f"back after {steps} steps"


def test_the_keys_go_there_from_any_step_of_the_way_back(walker: Walker) -> None:
    walker.there(keys.STAGE)
    after = walker.schema()
    length = len(walker.back(keys.STAGE))
    walker.there(keys.STAGE)
    for steps in _points(walker, length):
        assert len(walker.back(keys.STAGE, most=steps)) == steps
        walker.there(keys.STAGE)
        assert walker.schema() == after, f"there after {steps} steps back"


def _points(walker: Walker, length: int) -> list[int]:
    """After how many steps a walk is broken off: each for the sample, a few by `SEED` for the other."""
    every = list(range(1, length))
    if walker.plan.name == "sample":
        return every
    return random.Random(os.environ.get("SEED", "1")).sample(every, 6)


def test_a_dry_run_prints_only_what_a_run_takes(filled: Filled) -> None:
    """Steps that clear up after a broken walk are done from the start, so a dry run leaves them out."""
    walker, fill = filled
    for stage in STAGES:
        printed = [s.what for s in stage.steps(walker.plan, walker.original) if not s.done(walker.original)]
        taken = walker.there(stage)
        if stage is columns.STAGE:
            walker.connection.execute(fill)
        # The unique indexes are the stage before's, and stand in this one for a way back that dropped them.
        built = {s.what for s in indexes.key_indexes(walker.plan, walker.original)}
        left_out = built if stage is keys.STAGE else set()
        assert [what for what in printed if what not in left_out] == taken
