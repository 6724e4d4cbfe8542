"""The backfill beside an application at work: inserts never keep it alive, triggers fire as the plan says."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
import pytest

from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from tests.conftest import SAMPLE_ENTITIES, SAMPLE_RELATIONS
from tests.integration.backfilling import count_updates, filling, plan_of, updates_per_row
from tests.integration.walking import SAMPLE
from tests.waiting import until

_TOUCH = """
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := '2099-01-01';
  RETURN NEW;
END $$;
CREATE TRIGGER touch BEFORE UPDATE ON graph_entities FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON graph_relations FOR EACH ROW EXECUTE FUNCTION touch();
"""

#: Old code at work, over and over: rows before, among and behind those that are there, and rows that grow and
#: so move to another page, often behind the last that the backfill will look at.
_OLD_CODE = (
    """
    INSERT INTO graph_entities (id, entity_type, properties)
    VALUES (%(key)s, 'new', jsonb_build_object('org_id', 'org-new'))
    """,
    """
    INSERT INTO graph_relations (id, relation_type, source_id, target_id)
    VALUES (%(key)s, 'new', %(key)s, %(key)s)
    """,
    """
    UPDATE graph_entities SET properties = properties || jsonb_build_object('pad', repeat('x', %(n)s %% 700))
    WHERE id = 'entity-' || lpad((1 + %(n)s * 37 %% 2000)::text, 10, '0')
    """,
    """
    UPDATE graph_relations SET properties = properties || jsonb_build_object('pad', repeat('x', %(n)s %% 700))
    WHERE id = 'relation-' || lpad((1 + %(n)s * 37 %% 4000)::text, 10, '0')
    """,
)


@contextmanager
def _old_code(url: str) -> Iterator[list[int]]:
    """Old code writing until the end of the body; what it yields grows with each round."""
    over, rounds, failed = threading.Event(), [0], []

    def write() -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                for n in count():
                    if over.is_set():
                        return
                    key = f"{('aaa', 'entity-0000000500', 'zzz')[n % 3]}-{n}"
                    for statement in _OLD_CODE:
                        connection.execute(statement.encode(), {"key": key, "n": n})
                    rounds[0] = n + 1
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield rounds
    finally:
        over.set()
        thread.join(30)
    assert failed == []


def _plan(url: str, **changes: Any) -> Plan:
    entities, relations = SAMPLE["tables"]
    tables = [table | changes.pop(table["name"], {}) for table in (entities, relations)]
    return plan_of(url, tables=tables, **changes)


def _one(connection: psycopg.Connection, query: bytes) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("paging", ["contiguous", "pages"])
def test_a_backfill_ends_beside_inserts_that_never_do_and_leaves_no_row_without_its_tenant(
    paging: str, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection, seconds_per_row=0.0005)
    plan = _plan(sample, backfill={"first_batch": 100, "paging": paging})
    with filling(plan, valkey.url) as running, _old_code(sample) as rounds:
        running.end()
        at_the_end = rounds[0]
        assert at_the_end > 20
        until(lambda: rounds[0] > at_the_end + 5, "old code to go on after the end")
    assert _one(connection, b"SELECT count(*) FROM graph_entities") == SAMPLE_ENTITIES + rounds[0]
    assert _one(connection, b"SELECT count(*) FROM graph_relations") == SAMPLE_RELATIONS + rounds[0]
    without = (
        b"SELECT (SELECT count(*) FROM graph_entities WHERE tenant_id <> properties->>'org_id') + "
        b"(SELECT count(*) FROM graph_relations AS r JOIN graph_entities AS e ON e.id = r.source_id "
        b"WHERE r.tenant_id <> e.tenant_id)"
    )
    assert _one(connection, without) == 0


@pytest.mark.parametrize(
    ("held", "run"), [("graph_entities", "graph_relations"), ("graph_relations", "graph_entities")]
)
def test_triggers_fire_once_for_a_row_or_not_at_all_as_the_plan_says_of_each_table(
    held: str, run: str, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """One worker fills both tables: what it holds off for the one is not held off for the other."""
    count_updates(connection)
    connection.execute(_TOUCH)
    rows = {"graph_entities": SAMPLE_ENTITIES, "graph_relations": SAMPLE_RELATIONS}
    plan = _plan(sample, **{held: {"user_triggers": "hold"}})
    with filling(plan, valkey.url, count=1) as running:
        running.end()
    assert updates_per_row(connection) == [(run, rows[run], 1, 1)]
    touched = "SELECT count(*) FROM {} WHERE updated_at = '2099-01-01'"
    assert _one(connection, touched.format(held).encode()) == 0
    assert _one(connection, touched.format(run).encode()) == rows[run]
    for table in rows:
        assert _one(connection, f"SELECT count(*) FROM {table} WHERE tenant_id = ''".encode()) == 0


def test_the_tables_own_word_on_triggers_wins_over_the_backfills(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection)
    plan = _plan(
        sample,
        backfill={"first_batch": 100, "user_triggers": "hold"},
        graph_relations={"user_triggers": "run"},
    )
    with filling(plan, valkey.url) as running:
        running.end()
    assert updates_per_row(connection) == [("graph_relations", SAMPLE_RELATIONS, 1, 1)]
