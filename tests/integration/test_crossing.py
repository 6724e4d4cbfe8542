"""An edge whose ends belong to two tenants: found before a key could fail on it, or taken as it is."""

import json
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.keys import crossing
from control.plan.model import Plan
from control.stages import columns, indexes, keys
from control.verification import rows
from control.verification.check import Subject
from sql.errors import QuarantineError
from sql.postgres.connection import connect
from sql.postgres.facts import Catalog
from sql.postgres.verify import Tenants
from tests.integration.migrated import ground
from tests.integration.operating import Operator
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


@pytest.mark.parametrize("walker", ["source"], indirect=True)
def test_a_row_whose_parent_is_gone_strays_nowhere_unless_a_foreign_key_says_it_is_there(
    walker: Walker,
) -> None:
    """Without a foreign key an application deletes parents as it likes, and the row keeps its tenant."""
    connection = walker.connection
    connection.execute("ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_source_id_fkey")
    connection.execute(
        "UPDATE graph_relations SET source_id = 'gone' WHERE id = (SELECT min(id) FROM graph_relations)"
    )

    def told(original: Catalog) -> bool | None:
        live, name = walker.live(), "graph_relations"
        subject = Subject(
            connection, walker.plan, walker.plan.table(name), original.table(name), live.table(name), _NOBODY
        )
        found = {check.name: check.ok for check in rows.edges(subject, original, live, ())}
        return found["graph_relations: (source_id) stays within the tenant"]

    assert told(walker.original) is False
    assert told(walker.live()) is True
    connection.execute(
        "UPDATE graph_relations SET tenant_id = 'somebody' WHERE id = (SELECT max(id) FROM graph_relations)"
    )
    assert told(walker.live()) is False


def test_edges_that_cross_go_into_quarantine_until_they_are_mended_where_the_plan_says_so(
    operator: Operator,
) -> None:
    operator.edit('legacy = "default"', 'legacy = "default"\ncross_tenant = "quarantine"')
    with psycopg.connect(operator.url) as somebody:
        somebody.execute(_CROSS)
    with pytest.raises(QuarantineError, match="graph_relations_target_id_fkey names another"):
        operator.run_to("backfill", count=1)
    aside = json.loads(operator.done("quarantine", "--json"))["rows"]
    assert [(row["table"], row["sqlstate"]) for row in aside] == [("graph_relations", "23503")] * 3
    operator.done("retry")
    with pytest.raises(QuarantineError):
        operator.run_to("backfill", count=1)
    with psycopg.connect(operator.url) as somebody:
        somebody.execute("DELETE FROM graph_relations WHERE id = ANY (%s)", [[r["key"]["id"] for r in aside]])
    operator.run_to("backfill", count=1)
    assert json.loads(operator.done("quarantine", "--json"))["rows"] == []
