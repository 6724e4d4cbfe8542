"""The write guard: what code that does not know the column writes gets its tenant all the same."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from control import guard
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns
from sql.postgres.connection import connect
from tests.integration.walking import ODD, ODD_SCHEMA, SAMPLE, Walker

ENTITY = "INSERT INTO graph_entities (id, entity_type, properties) VALUES (%s, 'person', %s)"
RELATION = (
    "INSERT INTO graph_relations (id, relation_type, source_id, target_id) VALUES (%s, 'knows', %s, %s)"
)


def _plan(**entities: Any) -> Plan:
    """The plan of the sample, with some things different for graph_entities."""
    first, second = SAMPLE["tables"]
    return Plan.model_validate(SAMPLE | {"tables": [first | entities, second]})


def _walker(url: str, plan: Plan, server: EmbeddedPostgres) -> Walker:
    return Walker(connect(url, "test"), plan, server)


@pytest.fixture
def walker(sample: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the sample, with the columns and their guard."""
    walker = _walker(sample, _plan(), postgres)
    with walker.connection:
        walker.there(columns.STAGE)
        yield walker


def _tenant(walker: Walker, table: str, key: str) -> str | None:
    query = psycopg.sql.SQL("SELECT tenant_id FROM {} WHERE id = %s").format(psycopg.sql.Identifier(table))
    row = walker.connection.execute(query, [key]).fetchone()
    assert row is not None
    found: str | None = row[0]
    return found


def test_old_code_writes_rows_of_the_right_tenant(walker: Walker) -> None:
    walker.connection.execute(ENTITY, ["a", '{"org_id": "acme"}'])
    walker.connection.execute(ENTITY, ["b", '{"org_id": "acme"}'])
    walker.connection.execute(RELATION, ["a-b", "a", "b"])
    assert _tenant(walker, "graph_entities", "a") == "acme"
    assert _tenant(walker, "graph_relations", "a-b") == "acme"


def test_new_code_is_left_alone_and_not_counted(walker: Walker) -> None:
    walker.connection.execute(
        "INSERT INTO graph_entities (id, entity_type, properties, tenant_id) "
        "VALUES ('a', 'person', '{\"org_id\": \"acme\"}', 'other')"
    )
    assert _tenant(walker, "graph_entities", "a") == "other"
    assert guard.uses(walker.connection, walker.plan, walker.original) == {
        "graph_entities": 0,
        "graph_relations": 0,
    }


def test_each_use_is_counted_in_a_transaction_that_is_rolled_back_too(walker: Walker) -> None:
    walker.connection.execute(ENTITY, ["a", '{"org_id": "acme"}'])
    with walker.connection.transaction(force_rollback=True):
        walker.connection.execute(ENTITY, ["b", '{"org_id": "acme"}'])
    assert guard.uses(walker.connection, walker.plan, walker.original) == {
        "graph_entities": 2,
        "graph_relations": 0,
    }


def test_an_application_without_rights_on_the_guard_is_guarded(
    walker: Walker, postgres: EmbeddedPostgres
) -> None:
    application = postgres.url(walker.connection.info.dbname, "graph_app")
    with psycopg.connect(application, autocommit=True) as graph_app:
        graph_app.execute(ENTITY, ["a", '{"org_id": "acme"}'])
        graph_app.execute(RELATION, ["a-a", "a", "a"])
    assert _tenant(walker, "graph_relations", "a-a") == "acme"


def test_a_row_whose_tenant_nobody_can_tell_is_written_with_the_sentinel(walker: Walker) -> None:
    walker.connection.execute(ENTITY, ["nobody's", "{}"])
    walker.connection.execute(RELATION, ["nobody's", "nobody's", "nobody's"])
    assert _tenant(walker, "graph_entities", "nobody's") == ""
    assert _tenant(walker, "graph_relations", "nobody's") == ""


def test_otherwise_is_for_rows_without_a_parent_and_not_for_those_whose_parent_is_not_filled_yet(
    sample: str, postgres: EmbeddedPostgres
) -> None:
    entities, relations = SAMPLE["tables"]
    source = {"tenant": {"parent": "graph_entities", "on": {"source_id": "id"}, "otherwise": "lost"}}
    plan = Plan.model_validate(SAMPLE | {"tables": [entities, relations | source]})
    walker = _walker(sample, plan, postgres)
    with walker.connection as connection:
        walker.there(columns.STAGE)
        connection.execute("ALTER TABLE graph_relations DROP CONSTRAINT graph_relations_source_id_fkey")
        for key, parent in (("waits", "entity-0000000001"), ("parentless", "nobody")):
            connection.execute(RELATION, [key, parent, "entity-0000000001"])
        assert _tenant(walker, "graph_relations", "waits") == ""
        assert _tenant(walker, "graph_relations", "parentless") == "lost"


def test_an_error_in_the_source_is_not_the_applications(sample: str, postgres: EmbeddedPostgres) -> None:
    plan = _plan(tenant={"expression": "(properties->>'org_id')::int"})
    walker = _walker(sample, plan, postgres)
    with walker.connection:
        walker.there(columns.STAGE)
        walker.connection.execute(ENTITY, ["a", '{"org_id": "not a number"}'])
        assert _tenant(walker, "graph_entities", "a") == ""


def test_a_constant_tenant_is_the_default_and_needs_no_trigger(
    sample: str, postgres: EmbeddedPostgres
) -> None:
    walker = _walker(sample, _plan(tenant={"constant": "it's me"}), postgres)
    with walker.connection:
        walker.there(columns.STAGE)
        walker.connection.execute(ENTITY, ["a", "{}"])
        assert _tenant(walker, "graph_entities", "a") == "it's me"
        others = walker.connection.execute("SELECT DISTINCT tenant_id FROM graph_entities").fetchall()
        assert others == [("it's me",)], "the rows from before have it too, and nothing rewrote them"
        assert not walker.live().table("graph_entities").triggers


def test_columns_called_like_the_guards_own_words_mean_the_columns(
    database: str, postgres: EmbeddedPostgres
) -> None:
    with connect(database, "test") as connection:
        connection.execute(ODD_SCHEMA)
        walker = Walker(connection, Plan.model_validate(ODD), postgres)
        walker.there(columns.STAGE)
        connection.execute("INSERT INTO node (\"new\") VALUES ('n')")
        connection.execute("INSERT INTO keyless VALUES (1000, 'k')")
        assert connection.execute("SELECT tenant_id FROM node ORDER BY id DESC LIMIT 1").fetchone() == ("n",)
        assert connection.execute("SELECT tenant_id FROM keyless WHERE a = 1000").fetchone() == ("k",)


def test_without_the_guard_an_insert_without_a_tenant_fails_and_with_it_again_it_does_not(
    walker: Walker,
) -> None:
    walker.take(guard.retire(walker.plan, walker.original))
    with pytest.raises(errors.NotNullViolation):
        walker.connection.execute(ENTITY, ["a", '{"org_id": "acme"}'])
    assert "tenantry_guard" not in walker.schema()

    walker.take(guard.put(walker.plan, walker.original))
    walker.connection.execute(ENTITY, ["a", '{"org_id": "acme"}'])
    assert _tenant(walker, "graph_entities", "a") == "acme"


def test_at_no_step_of_retiring_it_is_a_row_written_that_belongs_to_nobody(walker: Walker) -> None:
    written = 0
    for step in guard.retire(walker.plan, walker.original):
        walker.take([step])
        try:
            walker.connection.execute(ENTITY, [step.what, '{"org_id": "acme"}'])
        except errors.NotNullViolation:
            continue
        written += 1
        assert _tenant(walker, "graph_entities", step.what) == "acme"
    assert written < len(list(guard.retire(walker.plan, walker.original)))


def test_a_default_that_the_plan_names_is_the_one_that_stays(sample: str, postgres: EmbeddedPostgres) -> None:
    plan = Plan.model_validate(SAMPLE | {"tenant": {"default": "lobby"}})
    walker = _walker(sample, plan, postgres)
    with walker.connection:
        walker.there(columns.STAGE)
        walker.take(guard.retire(plan, walker.original))
        walker.connection.execute(ENTITY, ["a", "{}"])
        assert _tenant(walker, "graph_entities", "a") == "lobby"


def test_a_source_that_is_quoted_as_the_guards_body_does_not_end_it(
    sample: str, postgres: EmbeddedPostgres
) -> None:
    plan = _plan(tenant={"expression": "$tenantry_guard$x$tenantry_guard$"})
    walker = _walker(sample, plan, postgres)
    with walker.connection:
        walker.there(columns.STAGE)
        walker.connection.execute(ENTITY, ["a", "{}"])
        assert _tenant(walker, "graph_entities", "a") == "x"
