"""An edge whose ends belong to two tenants: found before a key could fail on it, or taken as it is."""

from collections.abc import Iterator

import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.keys import crossing
from control.plan.model import Plan
from control.stages import columns, indexes, keys
from control.verification import rows
from control.verification.check import Subject
from sql.postgres.connection import connect
from sql.postgres.verify import Tenants
from tests.integration.migrated import ground
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker

_NOBODY = Tenants(0, 0, 0, [], 0, [])
_CROSS = (
    "UPDATE graph_relations SET target_id = 'entity-0000000002' WHERE id IN ("
    "  SELECT r.id FROM graph_relations AS r JOIN graph_entities AS s ON s.id = r.source_id"
    "  WHERE s.properties->>'org_id' <> "
    "    (SELECT properties->>'org_id' FROM graph_entities WHERE id = 'entity-0000000002')"
    "  ORDER BY r.id LIMIT 3)"
)


@pytest.fixture(params=["stop", "source"])
def walker(sample: str, postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[Walker]:
    """A walker just before the keys, with three edges that cross."""
    plan = Plan.model_validate(SAMPLE | {"tenant": {"cross_tenant": request.param}})
    with connect(sample, "test") as connection:
        connection.execute(_CROSS)
        walker = Walker(connection, plan, postgres)
        walker.there(columns.STAGE)
        connection.execute(FILL_SAMPLE)
        walker.there(indexes.STAGE)
        yield walker


def _constraints(walker: Walker) -> dict[str, str]:
    """Keys and foreign keys that hold, by name."""
    return dict(
        walker.connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype IN ('p', 'f') "
            "AND convalidated AND conrelid IN ('graph_entities'::regclass, 'graph_relations'::regclass)"
        ).fetchall()
    )


@pytest.mark.parametrize("walker", ["stop"], indirect=True)
def test_the_gate_says_how_many_cross_and_opens_once_none_does(walker: Walker) -> None:
    on = ground(walker.connection, walker.plan, walker.original)
    closed = keys.STAGE.gate(on)
    assert closed is not None
    (fact,) = closed.facts
    assert (
        "3 rows of graph_relations name another tenant's graph_entities by graph_relations_target_id" in fact
    )
    walker.connection.execute("DELETE FROM graph_relations WHERE target_id = 'entity-0000000002'")
    assert keys.STAGE.gate(on) is None


@pytest.mark.parametrize("walker", ["source"], indirect=True)
def test_an_edge_that_may_cross_keeps_its_foreign_key_there_and_back(walker: Walker) -> None:
    before = _constraints(walker)
    on = ground(walker.connection, walker.plan, walker.original)
    assert keys.STAGE.gate(on) is None
    walker.there(keys.STAGE)
    definitions = _constraints(walker)
    assert "(source_id, tenant_id)" in definitions["graph_relations_source_id_fkey"]
    assert "(target_id) REFERENCES graph_entities(id)" in definitions["graph_relations_target_id_fkey"]
    with pytest.raises(errors.ForeignKeyViolation):
        walker.connection.execute("UPDATE graph_relations SET target_id = 'nobody'")
    walker.connection.execute("DELETE FROM graph_entities WHERE id = 'entity-0000000002'")
    left = walker.connection.execute(
        "SELECT count(*) FROM graph_relations WHERE target_id = 'entity-0000000002'"
    ).fetchone()
    assert left == (0,), "it cascades as it did"
    walker.back(keys.STAGE)
    assert _constraints(walker) == before


@pytest.mark.parametrize("walker", ["source"], indirect=True)
def test_only_the_foreign_key_that_tells_no_tenant_may_be_crossed(walker: Walker) -> None:
    found = [edge.key.name for edge in crossing.edges(walker.plan, walker.original)]
    assert found == ["graph_relations_target_id_fkey"]


@pytest.mark.parametrize("walker", ["source"], indirect=True)
def test_verification_tells_of_edges_that_cross_and_fails_on_no_such(walker: Walker) -> None:
    walker.there(keys.STAGE)
    live = walker.live()
    name = "graph_relations"
    table, was, found = walker.plan.table(name), walker.original.table(name), live.table(name)
    subject = Subject(walker.connection, walker.plan, table, was, found, _NOBODY)
    told = {
        check.name: (check.ok, check.evidence) for check in rows.edges(subject, walker.original, live, ())
    }
    ok, evidence = told["graph_relations: (target_id) stays within the tenant"]
    assert ok is None
    assert "3 rows find no graph_entities in their own tenant" in evidence
    assert told["graph_relations: (source_id) stays within the tenant"][0] is True
