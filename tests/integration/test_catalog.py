"""The catalog as values: what it finds, and that it means the same wherever it is read."""

from collections.abc import Iterator

import pytest

from sql.errors import CatalogError
from sql.postgres import catalog
from sql.postgres.catalog import Catalog
from sql.postgres.connection import Connection, connect
from tests.integration.walking import ODD, ODD_SCHEMA

NAMES = [table["name"] for table in ODD["tables"]]


@pytest.fixture
def odd(database: str) -> Iterator[Connection]:
    """A connection to the odd schema."""
    with connect(database, "test") as connection:
        connection.execute(ODD_SCHEMA)
        yield connection


def test_tables_are_found_by_the_names_that_the_plan_gives_them(odd: Connection) -> None:
    found = catalog.read(odd, [*NAMES, "public.node", "Node", "no_such.table"])
    assert set(found.tables) == {*NAMES, "public.node"}
    edge = found.table('"Odd ""Schema"."Edge %s"')
    assert (edge.schema_, edge.name) == ('Odd "Schema', "Edge %s")
    with pytest.raises(CatalogError, match="Node"):
        found.table("Node")


def test_unqualified_names_are_looked_for_in_the_search_path(odd: Connection) -> None:
    odd.execute('SET search_path = "Odd ""Schema", public')
    odd.execute("CREATE TABLE node (a int)")
    assert catalog.read(odd, ["node"]).table("node").schema_ == 'Odd "Schema'
    assert catalog.read(odd, ["node"]).search_path == ('Odd "Schema', "public")


def test_definitions_are_the_same_in_every_search_path(odd: Connection) -> None:
    names = ["public.node", '"Odd ""Schema"."Edge %s"']
    read = []
    for path in ("public", '"Odd ""Schema"', "pg_catalog"):
        odd.execute(f"SET search_path = {path}")
        read.append(catalog.read(odd, names).tables)
    assert read[0] == read[1] == read[2]
    assert "REFERENCES public.node" in read[0][names[1]].foreign_keys[0].definition


def test_reading_leaves_the_session_as_it_was(odd: Connection) -> None:
    with odd.transaction():
        odd.execute("SET LOCAL search_path = 'public'")
        catalog.read(odd, NAMES)
        assert odd.execute("SHOW search_path").fetchone() == ("public",)


def test_what_the_ledger_keeps_is_what_was_read(odd: Connection) -> None:
    found = catalog.read(odd, NAMES)
    assert Catalog.model_validate_json(found.model_dump_json()) == found


def test_the_facts_of_keys_and_their_indexes(odd: Connection) -> None:
    node = catalog.read(odd, NAMES).table("node")
    assert node.primary_key is not None
    assert (node.primary_key.name, node.primary_key.columns) == ("node key", ("id",))
    index = node.index("node key")
    assert index is not None
    assert (index.include, index.options, index.clustered, index.replica_identity, index.comment) == (
        ("payload",),
        ("fillfactor=70",),
        True,
        True,
        "and its index",
    )
    up = node.foreign_key("node_up_fkey")
    assert up is not None
    assert (up.on_delete, up.deferrable, up.deferred) == ("n", True, True)
    assert {key.table for key in node.referenced_by} == {"node", "Edge %s", "tenanted"}
    payload = node.column("payload")
    assert payload is not None
    assert payload.default_text == "it's"
