"""What the application writes into its journal about an operation whose answer was lost."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from control.demo import sample as sample_graph
from control.demo.client import Client, Deployment
from control.demo.entries import DeleteEntry, EntityEntry, Entry, RelationEntry, SharedEntry, read
from control.demo.holdings import Owned
from control.demo.meter import Meter
from tests.integration.test_application import settings

ORG = sample_graph.organisation(4)
OF_SAMPLE = Owned(sample_graph.entity_key(4), ORG, 4)
OTHER = sample_graph.entity_key(54)
NEW = Owned("live-entity-0-00000001", ORG, 4)
VALUE = {"org_id": ORG, "revision": "0-1"}

INSERT = "INSERT INTO graph_entities (id, entity_type, properties) VALUES (%s, 'concept', %s)"
INSERT_RELATION = """
  INSERT INTO graph_relations (id, relation_type, source_id, target_id) VALUES (%s, 'knows', %s, %s)
"""
LOST_RELATION = RelationEntry(
    id="live-relation-0-00000002", org=ORG, source=OF_SAMPLE.id, target=OTHER, properties=VALUE, weight=0.5
)


Open = EntityEntry | RelationEntry | DeleteEntry | SharedEntry


@contextmanager
def client(url: str, folder: Path) -> Iterator[Client]:
    """A client that does nothing by itself."""
    one = Client(
        settings(url, folder, connections=1),
        0,
        deployment=Deployment("old", 1),
        meter=Meter(1),
        shared=itertools.count(),
        stop=threading.Event(),
    )
    yield one
    one._journal.close()
    one._session.close()


def after_looking(url: str, folder: Path, entry: Open, entity: Owned | None) -> list[Entry]:
    """The journal of a client that lost the answer to this one operation."""
    with client(url, folder) as one:
        one._open = entry, entity
        one._look()
    (journal,) = read(folder)
    return journal


@pytest.mark.parametrize("committed", [True, False])
def test_an_insert_is_written_down_only_if_it_was_committed(
    sample: str, connection: psycopg.Connection, tmp_path: Path, *, committed: bool
) -> None:
    if committed:
        connection.execute(INSERT, [NEW.id, psycopg.types.json.Jsonb(VALUE)])
    entry = EntityEntry(id=NEW.id, org=ORG, properties=VALUE)
    assert after_looking(sample, tmp_path, entry, NEW) == [entry] * committed


def test_an_update_is_written_down_with_the_value_that_is_there(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    (there,) = connection.execute(
        "SELECT properties FROM graph_entities WHERE id = %s", [OF_SAMPLE.id]
    ).fetchone() or (None,)
    assert there is not None
    lost = EntityEntry(id=OF_SAMPLE.id, org=ORG, properties=VALUE)
    assert after_looking(sample, tmp_path, lost, OF_SAMPLE) == [lost.model_copy(update={"properties": there})]


@pytest.mark.parametrize("committed", [True, False])
def test_a_relation_is_written_down_only_if_it_was_committed(
    sample: str, connection: psycopg.Connection, tmp_path: Path, *, committed: bool
) -> None:
    if committed:
        connection.execute(
            INSERT_RELATION,
            [LOST_RELATION.id, LOST_RELATION.source, LOST_RELATION.target],
        )
    assert after_looking(sample, tmp_path, LOST_RELATION, None) == [LOST_RELATION] * committed


@pytest.mark.parametrize("committed", [True, False])
def test_a_delete_is_written_down_only_if_it_was_committed(
    sample: str, connection: psycopg.Connection, tmp_path: Path, *, committed: bool
) -> None:
    if committed:
        connection.execute("DELETE FROM graph_entities WHERE id = %s", [OF_SAMPLE.id])
    entry = DeleteEntry(id=OF_SAMPLE.id, org=ORG, relations=None)
    assert after_looking(sample, tmp_path, entry, OF_SAMPLE) == [entry] * committed


@pytest.mark.parametrize("there", [True, False])
def test_a_shared_upsert_is_written_down_as_doubtful_if_anybody_s_was_committed(
    sample: str, connection: psycopg.Connection, tmp_path: Path, *, there: bool
) -> None:
    if there:
        connection.execute(INSERT, ["shared-00000000", psycopg.types.json.Jsonb({"org_id": ORG})])
    entry = SharedEntry(id="shared-00000000", org=ORG, properties=VALUE)
    assert after_looking(sample, tmp_path, entry, None) == [entry.model_copy(update={"sure": False})] * there


def test_an_entity_that_was_inserted_after_all_is_owned_from_then_on(
    sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    connection.execute(INSERT, [NEW.id, psycopg.types.json.Jsonb(VALUE)])
    with client(sample, tmp_path) as one:
        one._open = EntityEntry(id=NEW.id, org=ORG, properties=VALUE), NEW
        one._look()
        assert one._holdings.has(NEW)
