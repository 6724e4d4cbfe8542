"""The sample graph as the server has it."""

import psycopg
import pytest

from control.demo import sample as sample_graph
from sql.errors import GivenWrongError
from tests.conftest import SAMPLE_ENTITIES, SAMPLE_RELATIONS


def only(connection: psycopg.Connection, query: str) -> tuple[object, ...]:
    (row,) = connection.execute(query.encode()).fetchall()
    return row


def test_both_ends_of_every_relation_are_in_one_organisation(connection: psycopg.Connection) -> None:
    assert only(
        connection,
        """
        SELECT count(*) FROM graph_relations AS r
        JOIN graph_entities AS s ON s.id = r.source_id
        JOIN graph_entities AS t ON t.id = r.target_id
        WHERE s.properties->>'org_id' = t.properties->>'org_id'
        """,
    ) == (SAMPLE_RELATIONS,)


def test_every_organisation_has_its_share_of_the_entities(connection: psycopg.Connection) -> None:
    shares = connection.execute(
        "SELECT count(*) FROM graph_entities GROUP BY properties->>'org_id'"
    ).fetchall()
    assert shares == [(SAMPLE_ENTITIES // sample_graph.ORGANISATIONS,)] * sample_graph.ORGANISATIONS


def test_the_key_follows_the_heap(connection: psycopg.Connection) -> None:
    correlations = connection.execute(
        "SELECT correlation FROM pg_stats WHERE tablename LIKE 'graph%' AND attname = 'id'"
    ).fetchall()
    assert correlations == [(1.0,), (1.0,)]


def test_a_filled_sample_is_vacuumed_and_analyzed_like_a_table_long_in_use(
    connection: psycopg.Connection,
) -> None:
    assert only(
        connection,
        """
        SELECT bool_and(relallvisible = relpages AND relpages > 0), sum(reltuples)
        FROM pg_class WHERE relkind = 'r' AND relname LIKE 'graph%'
        """,
    ) == (True, SAMPLE_ENTITIES + SAMPLE_RELATIONS)


def test_filling_again_replaces_the_rows_and_leaves_the_same_keys_and_indexes(
    connection: psycopg.Connection,
) -> None:
    shape = """
        SELECT array_agg(line ORDER BY line) FROM (
          SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid::regclass::text LIKE 'graph%'
          UNION ALL
          SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
          WHERE conrelid::regclass::text LIKE 'graph%'
        ) AS lines (line)
    """
    before = only(connection, shape)
    sample_graph.fill(connection, entities=300, relations=450)
    assert only(connection, shape) == before
    assert only(
        connection, "SELECT (SELECT count(*) FROM graph_entities), (SELECT count(*) FROM graph_relations)"
    ) == (300, 450)


def test_deleting_an_entity_deletes_its_relations(connection: psycopg.Connection) -> None:
    source, _ = sample_graph.ends(1, entities=SAMPLE_ENTITIES, relations=SAMPLE_RELATIONS)
    connection.execute("DELETE FROM graph_entities WHERE id = %s", [sample_graph.entity_key(source)])
    assert connection.execute(
        "SELECT count(*) FROM graph_relations WHERE id = %s", [sample_graph.relation_key(1)]
    ).fetchone() == (0,)


def test_the_application_s_role_reads_and_writes_but_bypasses_nothing(connection: psycopg.Connection) -> None:
    assert only(
        connection,
        """
        SELECT rolcanlogin, rolsuper, rolbypassrls, rolcreatedb, rolcreaterole,
          has_table_privilege('graph_app', 'graph_entities', 'SELECT, INSERT, UPDATE, DELETE'),
          has_table_privilege('graph_app', 'graph_entities', 'TRUNCATE')
        FROM pg_roles WHERE rolname = 'graph_app'
        """,
    ) == (True, False, False, False, False, True, False)


@pytest.mark.parametrize(("entities", "relations"), [(249, None), (2_000, 0), (2_000, 2_000 * 19 + 1)])
def test_a_graph_that_cannot_be_made_is_refused_before_anything_changes(
    connection: psycopg.Connection, entities: int, relations: int | None
) -> None:
    with pytest.raises(GivenWrongError):
        sample_graph.fill(connection, entities=entities, relations=relations)
    assert only(connection, "SELECT count(*) FROM graph_entities") == (SAMPLE_ENTITIES,)
