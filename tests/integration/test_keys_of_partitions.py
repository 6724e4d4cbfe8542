"""Indexes and keys of partitioned tables: there, back, broken off in between, read under no lock."""

import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns, indexes, keys
from sql.errors import CatalogError
from sql.postgres.connection import Connection, connect
from tests.integration.migrated import ground
from tests.integration.scans import scanned, scans
from tests.integration.walking import STAGES, Walker

#: Two levels, an odd name, comments, a key with INCLUDE whose parts have names of their own, one empty.
SCHEMA = """
CREATE TABLE reading (at date NOT NULL, sensor int NOT NULL, org text, value text,
  CONSTRAINT "its key" PRIMARY KEY (at, sensor) INCLUDE (value)) PARTITION BY RANGE (at);
CREATE TABLE before PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE "later %" PARTITION OF later DEFAULT;
CREATE TABLE later_7 PARTITION OF later FOR VALUES IN (7);
ALTER INDEX before_pkey RENAME TO "key before";
COMMENT ON CONSTRAINT "its key" ON reading IS 'the whole';
COMMENT ON CONSTRAINT "key before" ON before IS 'a part';
INSERT INTO reading SELECT '2024-12-01'::date + n % 60, n, 'acme', 'v' FROM generate_series(1, 500) AS n;
CREATE TABLE keyless (n int, org text) PARTITION BY HASH (n);
CREATE TABLE keyless_0 PARTITION OF keyless FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE keyless_1 PARTITION OF keyless FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO keyless SELECT n, 'acme' FROM generate_series(1, 100) AS n;
"""

PLAN: dict[str, Any] = {
    "name": "parts",
    "database": {"url": "postgresql:///"},
    "tenant": {"sentinel": "null"},
    "tables": [
        {
            "name": "reading",
            "tenant": {"expression": "org"},
            "indexes": [
                {"name": "by tenant", "columns": ["tenant_id"]},
                {"name": "by tenant and day", "columns": ["tenant_id", "at"]},
            ],
            "primary_key": ["at", "sensor", "tenant_id"],
        },
        {"name": "keyless", "tenant": {"expression": "org"}, "primary_key": ["n", "tenant_id"]},
    ],
}

SEED = os.environ.get("SEED", "1")

FILL = "UPDATE reading SET tenant_id = org; UPDATE keyless SET tenant_id = org"


@pytest.fixture
def filled(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the partitioned tables, whose rows have their tenants: just before the indexes."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA)
        walker = Walker(connection, Plan.model_validate(PLAN), postgres)
        walker.there(columns.STAGE)
        connection.execute(FILL)
        yield walker


def test_every_stage_goes_back_to_the_schema_it_came_from(filled: Walker) -> None:
    schemas = [filled.schema()]
    filled.there(indexes.STAGE)
    schemas.append(filled.schema())
    filled.there(keys.STAGE)
    schemas.append(filled.schema())
    assert len(set(schemas)) == 3

    filled.back(keys.STAGE)
    filled.back(indexes.STAGE)
    assert filled.schema() == schemas[0]
    filled.there(indexes.STAGE)
    filled.there(keys.STAGE)
    assert filled.schema() == schemas[2]


@pytest.mark.parametrize("stage", [indexes.STAGE, keys.STAGE], ids=["indexes", "keys"])
def test_broken_off_after_any_step_it_goes_back_and_then_on(
    filled: Walker, stage: indexes.Indexes | keys.Keys
) -> None:
    start = filled.schema()
    number = len(list(stage.steps(filled.plan, filled.original)))
    for most in random.Random(SEED).sample(range(1, number), 2):
        if stage is keys.STAGE:
            filled.there(indexes.STAGE)
        filled.there(stage, most=most)
        if stage is keys.STAGE:
            filled.back(keys.STAGE)
        filled.back(indexes.STAGE)
        assert filled.schema() == start, f"after {most} steps, SEED={SEED}"


def test_indexes_and_key_are_whole_on_every_partition(filled: Walker) -> None:
    filled.there(indexes.STAGE)
    filled.there(keys.STAGE)
    reading = filled.live().table("reading")
    for part in (reading, *reading.branches, *reading.partitions):
        assert part.primary_key is not None
        assert part.primary_key.columns == ("at", "sensor", "tenant_id"), part.name
        assert all(index.valid for index in part.indexes), part.name
        assert len(part.indexes) == 3, part.name
    assert {part.primary_key.name for part in reading.partitions if part.primary_key} == {
        "key before",
        "later %_pkey",
        "later_7_pkey",
    }
    filled.connection.execute("INSERT INTO reading (at, sensor, tenant_id) VALUES ('2020-01-01', 1, 'a')")
    filled.connection.execute("INSERT INTO reading (at, sensor, tenant_id) VALUES ('2020-01-01', 1, 'b')")
    with pytest.raises(errors.UniqueViolation):
        filled.connection.execute("INSERT INTO before (at, sensor, tenant_id) VALUES ('2020-01-01', 1, 'a')")


def test_the_swap_builds_no_index_and_reads_no_row(filled: Walker) -> None:
    """Under its lock the key's indexes keep the files that were built before, and no table is scanned."""
    filled.there(indexes.STAGE)
    steps = list(keys.STAGE.steps(filled.plan, filled.original))
    at = next(n for n, step in enumerate(steps) if step.what.startswith("reading: primary key"))
    filled.take(steps[:at])
    connection = filled.connection
    before = {part.oid: _files(connection, part.oid) for part in filled.live().table("reading").partitions}
    with connection.transaction():
        read = scans(connection)
        connection.execute(steps[at].statement)
        assert scanned(connection, read) == []
    for oid, files in before.items():
        assert _files(connection, oid) < files, "the old key's file is gone, and no new one came"


def _files(connection: Connection, table: int) -> set[int]:
    found = connection.execute(
        "SELECT pg_relation_filenode(indexrelid) FROM pg_index WHERE indrelid = %s",
        [table],
    )
    return {file for (file,) in found}


@pytest.mark.parametrize("stage", [indexes.STAGE, keys.STAGE], ids=["indexes", "keys"])
def test_a_partition_that_came_since_the_stage_began_closes_the_gate_and_is_named(
    filled: Walker, stage: indexes.Indexes | keys.Keys
) -> None:
    on = ground(filled.connection, filled.plan, filled.original)
    assert stage.gate(on) is None
    filled.connection.execute("CREATE TABLE later_8 PARTITION OF later FOR VALUES IN (8)")
    closed = stage.gate(on)
    assert closed is not None
    assert closed.facts == ('"public"."later_8" became a partition of reading a moment ago',)


def test_a_duplicate_on_one_partition_is_found_before_the_old_key_goes(filled: Walker) -> None:
    filled.connection.execute("INSERT INTO keyless VALUES (1, 'acme', 'acme')")
    with pytest.raises(CatalogError, match="keyless_"):
        filled.there(indexes.STAGE)
    reading = filled.live().table("reading").primary_key
    assert reading is not None
    assert reading.columns == ("at", "sensor")


def test_columns_go_as_they_came(filled: Walker) -> None:
    for stage in STAGES[1:]:
        filled.there(stage)
    for stage in reversed(STAGES):
        filled.back(stage)
    assert filled.live().table("reading").column("tenant_id") is None
