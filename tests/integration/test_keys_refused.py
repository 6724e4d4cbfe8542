"""What stands in the way of new keys: preflight names it, the stage waits for what is mended on the way."""

from collections.abc import Iterator

import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.preflight import keys as preflight
from control.preflight.finding import Finding
from control.stages import columns, indexes, keys
from sql.postgres.connection import connect
from tests.integration.migrated import ground
from tests.integration.walking import FILL_SAMPLE, SAMPLE, Walker

BY_KEY = "SELECT id, entity_type, count(*) FROM graph_entities GROUP BY id"


@pytest.fixture
def sampled(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the sample at the start."""
    with connect(sample, "test") as connection:
        yield Walker(connection, Plan.model_validate(SAMPLE), postgres)


def _needs(walker: Walker, version: int) -> None:
    if walker.connection.info.server_version < version * 10_000:
        pytest.skip(f"the server knows nothing of it before PostgreSQL {version}")


def _findings(walker: Walker) -> dict[str, Finding]:
    on = ground(walker.connection, walker.plan, walker.live())
    return {finding.name: finding for finding in preflight.look(on)}


@pytest.mark.parametrize(
    ("leaning", "named"),
    [
        (f"CREATE MATERIALIZED VIEW kinds AS {BY_KEY}", "materialized view public.kinds"),
        (
            f"CREATE FUNCTION kinds() RETURNS SETOF record LANGUAGE sql BEGIN ATOMIC {BY_KEY}; END",
            "function kinds()",
        ),
        (
            (
                "CREATE RULE twice AS ON INSERT TO graph_relations DO ALSO INSERT INTO graph_entities (id) "
                "VALUES (new.id) ON CONFLICT ON CONSTRAINT graph_entities_pkey DO NOTHING"
            ),
            "rule twice on table graph_relations",
        ),
    ],
    ids=["materialized view", "function", "rule"],
)
def test_what_would_keep_the_old_key_from_being_dropped_is_named(
    sampled: Walker, leaning: str, named: str
) -> None:
    sampled.connection.execute(leaning.encode())
    sampled.connection.execute("ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_source_id_fkey")
    sampled.connection.execute("ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_target_id_fkey")
    with pytest.raises(errors.DependentObjectsStillExist):
        sampled.connection.execute("ALTER TABLE graph_entities DROP CONSTRAINT graph_entities_pkey")
    found = _findings(sampled)["what leans on changing keys"]
    assert found.level == "stop"
    assert found.fact.replace("public.", "") == f"{named} on the key of graph_entities".replace("public.", "")
    assert "GROUP BY" in found.way_out


def test_a_view_that_groups_by_columns_and_one_on_the_new_key_are_no_hindrance(sampled: Walker) -> None:
    sampled.connection.execute(
        "CREATE VIEW counted AS SELECT id, count(*) FROM graph_entities GROUP BY id, entity_type"
    )
    assert _findings(sampled)["what leans on changing keys"].level == "pass"
    sampled.there(columns.STAGE)
    sampled.connection.execute(FILL_SAMPLE)
    sampled.there(indexes.STAGE)
    sampled.there(keys.STAGE)
    sampled.connection.execute(f"CREATE VIEW kinds AS {BY_KEY}, tenant_id".encode())
    on = ground(sampled.connection, sampled.plan, sampled.original)
    assert {f.name: f.level for f in preflight.look(on)}["what leans on changing keys"] == "pass"


def test_the_keys_wait_for_a_column_list_that_lacks_the_tenant(sampled: Walker) -> None:
    """Without the gate every UPDATE of the application would fail from the swap on."""
    _needs(sampled, 15)
    sampled.connection.execute("CREATE PUBLICATION feed FOR TABLE graph_entities (id, entity_type)")
    found = _findings(sampled)["publications of changing keys"]
    assert found.level == "warn"
    assert found.fact == "feed (columns of graph_entities)"
    sampled.there(columns.STAGE)
    sampled.connection.execute(FILL_SAMPLE)
    on = ground(sampled.connection, sampled.plan, sampled.original)
    closed = keys.STAGE.gate(on)
    assert closed is not None
    assert closed.facts == (
        "publication feed (columns of graph_entities) lacks a column of the new key: updates would fail",
    )
    sampled.connection.execute("ALTER PUBLICATION feed SET TABLE graph_entities (id, entity_type, tenant_id)")
    assert keys.STAGE.gate(on) is None
    sampled.there(keys.STAGE)
    sampled.connection.execute("UPDATE graph_entities SET entity_type = 'other'")


def test_a_short_column_list_is_no_hindrance_where_nothing_is_updated_through_it(sampled: Walker) -> None:
    _needs(sampled, 15)
    sampled.connection.execute(
        "CREATE PUBLICATION feed FOR TABLE graph_entities (id) WITH (publish = 'insert')"
    )
    assert _findings(sampled)["publications of changing keys"].level == "pass"


def test_a_foreign_key_that_is_not_enforced_stays_so_or_the_plan_is_refused(sampled: Walker) -> None:
    _needs(sampled, 18)
    sampled.connection.execute(
        "ALTER TABLE graph_relations ALTER CONSTRAINT graph_relations_source_id_fkey NOT ENFORCED"
    )
    found = _findings(sampled)["foreign keys onto changing keys"]
    assert found.level == "stop"
    assert "graph_relations_source_id_fkey of graph_relations is NOT ENFORCED" in found.fact


def test_a_key_without_overlaps_is_not_made_one_that_lets_them_in(sampled: Walker) -> None:
    _needs(sampled, 18)
    sampled.connection.execute(
        "CREATE TABLE stay (room int4range, during tstzrange, PRIMARY KEY (room, during WITHOUT OVERLAPS))"
    )
    table = {"name": "stay", "tenant": {"constant": "acme"}, "primary_key": ["room", "during", "tenant_id"]}
    sampled.plan = Plan.model_validate(SAMPLE | {"tables": [*SAMPLE["tables"], table]})
    found = _findings(sampled)["foreign keys onto changing keys"]
    assert found.level == "stop"
    assert "stay_pkey of stay is WITHOUT OVERLAPS" in found.fact
