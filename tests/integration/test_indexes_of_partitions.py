"""An index that a partition has already is lent to the whole one, and is its own again afterwards."""

from collections.abc import Iterator
from typing import Any

import pytest

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns, indexes
from sql.postgres.connection import connect
from tests.integration.test_partitions import PLAN, SCHEMA
from tests.integration.walking import Walker

#: By which name or property each partition has one; only those without a hold on their name are lent.
OWN = """
CREATE INDEX "its own %" ON later_1 (value, at) WITH (fillfactor = 80);
CREATE INDEX later_2_by_value ON later_2 (value, at);
CREATE INDEX told ON later_rest (value, at);
COMMENT ON INDEX told IS 'for the nightly report';
"""


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker whose columns are there, on partitions with indexes of their own."""
    sensor, reading = PLAN["tables"]
    wanted: list[dict[str, Any]] = [{"name": "by_value", "columns": ["value", "at"]}]
    plan = Plan.model_validate(PLAN | {"tables": [sensor, reading | {"indexes": wanted}]})
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(OWN.encode())
        walker = Walker(connection, plan, postgres)
        walker.there(columns.STAGE)
        yield walker


def _parts(walker: Walker) -> dict[str, set[str]]:
    """The indexes on (value, at) of each partition, those that are part of the whole with a mark."""
    return {
        part.name: {
            index.name + (" attached" if index.attached_to else "")
            for index in part.indexes
            if index.columns == ("value", "at")
        }
        for part in walker.live().table("reading").partitions
    }


def test_what_is_like_its_part_is_attached_instead_of_built_again_and_given_back(walker: Walker) -> None:
    before, oid = walker.schema(), "SELECT '\"its own %\"'::regclass::oid"
    was = walker.connection.execute(oid).fetchone()
    walker.there(indexes.STAGE)
    parts = _parts(walker)
    assert parts["later_1"] == {"its own % attached"}
    assert parts["later_2"] == {"later_2_by_value attached"}
    assert parts["later_rest"] == {"told", "later_rest_by_value attached"}
    assert walker.connection.execute(oid).fetchone() == was
    walker.back(indexes.STAGE)
    assert walker.schema() == before


def test_a_walk_that_ends_after_any_step_lends_and_gives_back_all_the_same(walker: Walker) -> None:
    before, most = walker.schema(), 1
    while len(walker.there(indexes.STAGE, most=most)) == most:
        while walker.back(indexes.STAGE, most=1):
            pass
        assert walker.schema() == before, most
        most += 1
    assert most > len(_parts(walker)), "it was turned round after every step"
