"""A thousand tenants, a schema for each."""

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from tests.integration.separated import Separating

PLAN = {
    "name": "thousand",
    "tenant": {"isolation": "separate_schema"},
    "tables": [
        {"name": "graph_entities", "tenant": {"expression": "properties->>'org_id'"}},
        {
            "name": "graph_relations",
            "tenant": {"parent": "graph_entities", "on": {"source_id": "id"}},
        },
    ],
}


@pytest.mark.full
@pytest.mark.timeout(1_800)
def test_a_thousand_tenants_get_their_schemas_and_go_back(
    database: str, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        sample_graph.create(connection)
        sample_graph.fill(connection, entities=20_000, relations=20_000)
        connection.execute(
            "UPDATE graph_entities SET properties = jsonb_build_object('org_id', "
            "'t' || (abs(hashtext(id)) % 1000))"
        )
        connection.execute(
            "UPDATE graph_relations AS r SET target_id = e.id FROM (SELECT e.id AS source, min(o.id) AS id "
            "FROM graph_entities AS e JOIN graph_entities AS o "
            "ON o.properties->>'org_id' = e.properties->>'org_id' GROUP BY 1) AS e "
            "WHERE e.source = r.source_id"
        )
    plan = Plan.model_validate(PLAN | {"database": {"url": database}})
    migration = Separating(plan, database, valkey.url, postgres)
    migration.to("backfill")
    before = migration.schema()
    migration.to("schemas")
    migration.to("verify")
    with psycopg.connect(database) as connection:
        (schemas,) = connection.execute("SELECT count(*) FROM tenantry_mirror.schemas").fetchall()
        assert schemas[0] == 1000
    migration.back("backfill")
    assert migration.schema() == before
