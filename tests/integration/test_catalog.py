"""The catalog as values: what it finds, and that it means the same wherever it is read."""

from collections.abc import Iterator

import pytest

from sql.errors import CatalogError
from sql.postgres import catalog
from sql.postgres.connection import Connection, connect
from sql.postgres.facts import Catalog
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
    # SET NULL can leave the tenant alone from PostgreSQL 15 on; before it the schema has CASCADE there.
    on_delete = "n" if odd.info.server_version >= 150_000 else "c"
    assert (up.on_delete, up.deferrable, up.deferred) == (on_delete, True, True)
    assert {key.table for key in node.referenced_by} == {"node", "Edge %s", "tenanted", "elsewhere"}
    payload = node.column("payload")
    assert payload is not None
    assert payload.default_text == "it's"


#: Two levels, every leaf with a key of its own; a trigger above, and one that only a leaf has.
PARTITIONED = """
CREATE SCHEMA "Leaves of %";
CREATE TABLE reading (at date NOT NULL, sensor int NOT NULL, value text) PARTITION BY RANGE (at);
CREATE TABLE "Leaves of %"."2024" PARTITION OF reading FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
ALTER TABLE "Leaves of %"."2024" ADD PRIMARY KEY (sensor, at);
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE later_1 PARTITION OF later FOR VALUES IN (1);
CREATE TABLE later_rest PARTITION OF later DEFAULT;
CREATE UNIQUE INDEX later_key ON later_1 (at DESC, sensor);
CREATE TRIGGER above BEFORE UPDATE OF value ON reading FOR EACH ROW
  EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TRIGGER of_the_leaf AFTER INSERT ON later_1 FOR EACH STATEMENT
  EXECUTE FUNCTION suppress_redundant_updates_trigger();
ALTER TABLE later_1 ENABLE ALWAYS TRIGGER of_the_leaf;
INSERT INTO reading SELECT date '2024-01-01' + n, n % 3, 'x' FROM generate_series(0, 499) AS n;
"""


def test_a_partitioned_table_has_its_leaves_with_their_own_keys_and_triggers(odd: Connection) -> None:
    odd.execute(PARTITIONED)
    read = catalog.read(odd, ["reading", "later_1", "node"])
    reading, leaf = read.table("reading"), read.table("later_1")
    assert [(p.schema_, p.name) for p in reading.partitions] == [
        ("Leaves of %", "2024"),
        ("public", "later_1"),
        ("public", "later_rest"),
    ]
    assert {p.partition_of for p in reading.partitions} == {"public.reading"}
    assert leaf == reading.partitions[1]
    assert leaf.is_partition
    assert not reading.is_partition
    assert read.table("node").partitions == ()
    first = reading.partitions[0]
    assert first.primary_key is not None
    assert (first.primary_key.columns, reading.primary_key) == (("sensor", "at"), None)
    key = leaf.index("later_key")
    assert key is not None
    assert (key.columns, key.btree_columns, key.plain) == (("at", "sensor"), True, False)
    assert [
        (t.name, t.cloned, t.each_row, t.on_update, t.of_columns, t.fires, t.enabled) for t in leaf.triggers
    ] == [
        ("above", True, True, True, ("value",), "origin", True),
        ("of_the_leaf", False, False, False, (), "always", True),
    ]


def test_a_partitioned_tables_rows_are_known_once_all_its_leaves_are(odd: Connection) -> None:
    odd.execute(PARTITIONED)
    odd.execute('ANALYZE "Leaves of %"."2024"')
    assert catalog.read(odd, ["reading"]).table("reading").rows == -1
    odd.execute("ANALYZE reading")
    reading = catalog.read(odd, ["reading"]).table("reading")
    assert reading.rows == 500
    assert reading.bytes == sum(partition.bytes for partition in reading.partitions) > 0


def test_inheritance_is_told_from_partitions(odd: Connection) -> None:
    odd.execute(PARTITIONED)
    odd.execute("CREATE TABLE heir () INHERITS (keyless)")
    read = catalog.read(odd, ["reading", "later_1", "keyless", "heir", "node"])
    assert {name for name, table in read.tables.items() if table.inherits} == {"keyless", "heir"}


def test_an_index_tells_its_own_collations_and_whether_rows_compare_along_it(odd: Connection) -> None:
    odd.execute(
        """
        CREATE SCHEMA "my collations";
        CREATE COLLATION "my collations"."my own" FROM "C";
        CREATE TABLE words (word text NOT NULL, n int NOT NULL, other text COLLATE "C" NOT NULL);
        CREATE UNIQUE INDEX by_word ON words (n, word COLLATE "my collations"."my own", other);
        CREATE UNIQUE INDEX by_other ON words (other COLLATE "POSIX");
        CREATE UNIQUE INDEX own ON words (word, n DESC);
        CREATE UNIQUE INDEX partial ON words (n) WHERE n > 0;
        CREATE UNIQUE INDEX lowered ON words (lower(word), other);
        CREATE UNIQUE INDEX patterns ON words (word text_pattern_ops);
        """
    )
    found = {index.name: index for index in catalog.read(odd, ["words"]).table("words").indexes}
    assert {name: index.collations for name, index in found.items()} == {
        "by_word": (None, '"my collations"."my own"', None),
        "by_other": ('pg_catalog."POSIX"',),
        "own": (None, None),
        "partial": (None,),
        "lowered": (None, None),
        "patterns": (None,),
    }
    assert {name for name, index in found.items() if index.btree_columns} == {"by_word", "by_other", "own"}


def test_a_catalog_that_an_earlier_version_kept_still_loads(odd: Connection) -> None:
    """The facts that were not there before have a value all the same."""
    kept = catalog.read(odd, NAMES).model_dump(mode="json")
    for table in kept["tables"].values():
        for fact in ("partitions", "partition_of", "inherits"):
            del table[fact]
        for index in table["indexes"]:
            for fact in ("collations", "btree_columns"):
                del index[fact]
    loaded = Catalog.model_validate(kept).table("node")
    assert (loaded.partitions, loaded.is_partition, loaded.inherits) == ((), False, False)
    assert all(index.btree_columns and index.collations == () for index in loaded.indexes)
