"""The composite keys: what they must keep, and when they are refused."""

from collections.abc import Iterator

import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns, keys
from sql.errors import CatalogError, GivenWrongError
from sql.postgres.connection import connect
from tests.integration.walking import FILL_ODD, FILL_SAMPLE, ODD, ODD_SCHEMA, SAMPLE, UP_ACTION, Walker

TWO_TENANTS = """
INSERT INTO graph_entities (id, tenant_id, entity_type)
SELECT id, 'somebody else', entity_type FROM graph_entities ORDER BY id LIMIT 1
"""


@pytest.fixture
def sampled(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the sample at the start."""
    with connect(sample, "test") as connection:
        yield Walker(connection, Plan.model_validate(SAMPLE), postgres)


@pytest.fixture
def odd(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the odd schema at the start."""
    with connect(database, "test") as connection:
        connection.execute(ODD_SCHEMA)
        yield Walker(connection, Plan.model_validate(ODD), postgres)


def _to_keys(walker: Walker, fill: str) -> None:
    walker.there(columns.STAGE)
    walker.connection.execute(fill)
    walker.there(keys.STAGE)


def test_an_edge_cannot_end_in_another_tenant(sampled: Walker) -> None:
    _to_keys(sampled, FILL_SAMPLE)
    with pytest.raises(errors.ForeignKeyViolation):
        sampled.connection.execute("UPDATE graph_relations SET tenant_id = 'somebody else'")


def test_two_tenants_may_have_the_same_id(sampled: Walker) -> None:
    _to_keys(sampled, FILL_SAMPLE)
    sampled.connection.execute(TWO_TENANTS)


@pytest.mark.skipif(UP_ACTION != "SET NULL", reason="SET NULL of one column of a key is PostgreSQL 15's")
def test_deleting_a_parent_takes_its_reference_and_leaves_the_tenant(odd: Walker) -> None:
    """ON DELETE SET NULL of a composite key would take both columns."""
    _to_keys(odd, FILL_ODD)
    odd.connection.execute("INSERT INTO node (\"new\", tenant_id) VALUES ('acme', 'acme') RETURNING id")
    odd.connection.execute(
        "INSERT INTO node (up, \"new\", tenant_id) SELECT max(id), 'child', 'acme' FROM node"
    )
    odd.connection.execute("DELETE FROM node WHERE id = (SELECT up FROM node WHERE \"new\" = 'child')")
    child = odd.connection.execute("SELECT up, tenant_id FROM node WHERE \"new\" = 'child'").fetchone()
    assert child == (None, "acme")


def test_the_facts_that_a_swap_loses_are_there_after_it(odd: Walker) -> None:
    _to_keys(odd, FILL_ODD)
    node = odd.live().table("node")
    before = odd.original.table("node")
    assert node.primary_key is not None
    assert before.primary_key is not None
    assert node.primary_key.comment == before.primary_key.comment
    index, old = node.index("node key"), before.index("node key")
    assert index is not None
    assert old is not None
    assert index.columns == ("tenant_id", "id")
    kept = ("name", "include", "options", "clustered", "replica_identity", "comment")
    assert {fact: getattr(index, fact) for fact in kept} == {fact: getattr(old, fact) for fact in kept}
    edge, was = odd.live().table('"Odd ""Schema"."Edge %s"'), odd.original.table('"Odd ""Schema"."Edge %s"')
    for key in was.foreign_keys:
        now = edge.foreign_key(key.name)
        assert now is not None
        kept = ("on_delete", "on_update", "deferrable", "deferred", "comment", "validated")
        assert {fact: getattr(now, fact) for fact in kept} == {fact: getattr(key, fact) for fact in kept}


def test_an_id_in_two_tenants_bars_the_way_back_and_is_named(sampled: Walker) -> None:
    _to_keys(sampled, FILL_SAMPLE)
    assert keys.cannot_undo(sampled.connection, sampled.plan, sampled.original) is None
    sampled.connection.execute(TWO_TENANTS)
    reason = keys.cannot_undo(sampled.connection, sampled.plan, sampled.original)
    assert reason is not None
    assert "graph_entities: id = entity-0000000001" in reason
    assert "'somebody else'" in reason


def test_a_row_in_another_tenant_than_its_parent_is_found_before_anything_is_taken_away(
    sampled: Walker,
) -> None:
    sampled.there(columns.STAGE)
    sampled.connection.execute(FILL_SAMPLE)
    sampled.connection.execute(
        "UPDATE graph_relations SET tenant_id = 'lost' WHERE id = (SELECT min(id) FROM graph_relations)"
    )
    with pytest.raises(CatalogError, match=r"validate graph_relations_source_id_fkey.*lost"):
        sampled.there(keys.STAGE)
    key = sampled.live().table("graph_relations").foreign_key("graph_relations_source_id_fkey")
    assert key is not None
    assert key.columns == ("source_id",)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            "ALTER TABLE graph_entities ADD up text REFERENCES graph_entities ON UPDATE SET NULL",
            CatalogError,
            "graph_entities_up_fkey of graph_entities",
        ),
    ],
    ids=["ON UPDATE SET NULL"],
)
def test_a_foreign_key_that_cannot_be_carried_over_is_refused(
    sampled: Walker, change: str, error: type[Exception], match: str
) -> None:
    sampled.connection.execute(change)
    with pytest.raises(error, match=match):
        list(keys.STAGE.steps(sampled.plan, sampled.live()))


def test_a_new_key_that_foreign_keys_cannot_point_to_is_refused(sampled: Walker) -> None:
    entities, relations = SAMPLE["tables"]
    key = {"primary_key": ["id", "entity_type", "tenant_id"]}
    plan = Plan.model_validate(SAMPLE | {"tables": [entities | key, relations]})
    with pytest.raises(GivenWrongError, match="primary_key of graph_entities must be id and tenant_id"):
        list(keys.STAGE.steps(plan, sampled.original))
