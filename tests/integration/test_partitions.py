"""Column and guard on partitioned tables: on every partition, later ones too, and away without a trace."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from control import locks
from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.stages import columns
from sql.errors import LockNotGotError
from sql.postgres.connection import connect
from tests.integration.walking import Walker

#: Range over list over default; a partition in another schema, and one that was attached with its columns in
#: another order and a dropped one among them.
SCHEMA = """
CREATE SCHEMA "Old %";
CREATE TABLE sensor (id int PRIMARY KEY, owner text NOT NULL);
INSERT INTO sensor SELECT n, 'org-' || n FROM generate_series(1, 3) AS n;
CREATE TABLE reading (at date NOT NULL, sensor int NOT NULL, value text) PARTITION BY RANGE (at);
CREATE TABLE "Old %"."before {2025}" PARTITION OF reading FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE later_1 PARTITION OF later FOR VALUES IN (1);
CREATE TABLE later_rest PARTITION OF later DEFAULT;
CREATE TABLE later_2 (gone int, value text, sensor int NOT NULL, at date NOT NULL, PRIMARY KEY (sensor, at));
ALTER TABLE later_2 DROP COLUMN gone;
ALTER TABLE later ATTACH PARTITION later_2 FOR VALUES IN (2);
INSERT INTO reading SELECT date '2024-12-01' + n, 1 + n % 3, 'x' FROM generate_series(0, 59) AS n;
"""

LEAVES = ('"Old %"."before {2025}"', "later_1", "later_2", "later_rest")

PLAN: dict[str, Any] = {
    "name": "readings",
    "database": {"url": "postgresql:///"},
    "tables": [
        {"name": "sensor", "tenant": {"expression": "owner"}},
        {"name": "reading", "tenant": {"parent": "sensor", "on": {"sensor": "id"}}},
    ],
}


def _plan(**reading: Any) -> Plan:
    """The plan, with some things different for the partitioned table."""
    sensor, partitioned = PLAN["tables"]
    return Plan.model_validate(PLAN | {"tables": [sensor, partitioned | reading]})


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker before the first step."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        yield Walker(connection, _plan(), postgres)


def _filled(walker: Walker) -> None:
    """Give every sensor its tenant, for the guard of the readings to find."""
    walker.there(columns.STAGE)
    walker.connection.execute("UPDATE sensor SET tenant_id = owner")


def _tenants(walker: Walker, value: str) -> list[tuple[str, str]]:
    """The partitions that have a row with this value, and its tenant."""
    return walker.connection.execute(
        "SELECT tableoid::regclass::text, tenant_id FROM reading WHERE value = %s ORDER BY 1", [value]
    ).fetchall()


def test_column_and_guard_go_on_every_partition_and_leave_no_trace(walker: Walker) -> None:
    before = walker.schema()
    walker.there(columns.STAGE)
    table = walker.live().table("reading")
    assert len(table.partitions) == len(LEAVES)
    for part in (table, *table.partitions):
        column = part.column("tenant_id")
        assert column is not None
        assert (column.not_null, column.default_text) == (True, "")
        assert part.trigger("zz_tenantry_guard") is not None
    walker.back(columns.STAGE)
    assert walker.schema() == before


def test_a_walk_that_ends_after_any_step_goes_on_there_and_back(walker: Walker) -> None:
    before = walker.schema()
    while walker.there(columns.STAGE, most=1):
        pass
    walker.there(columns.STAGE)
    while walker.back(columns.STAGE, most=1):
        pass
    assert walker.schema() == before


def test_a_row_gets_its_tenant_in_whichever_partition_and_by_whatever_name_it_is_written(
    walker: Walker,
) -> None:
    _filled(walker)
    for sensor, day in ((1, "2020-01-01"), (1, "2026-01-01"), (2, "2026-01-01"), (3, "2026-01-01")):
        walker.connection.execute("INSERT INTO reading VALUES (%s, %s, 'by parent')", [day, sensor])
    assert _tenants(walker, "by parent") == list(
        zip(LEAVES, ("org-1", "org-1", "org-2", "org-3"), strict=True)
    )
    rows = ((3, "2020-01-01"), (1, "2026-02-02"), (2, "2026-02-02"), (3, "2026-02-02"))
    for leaf, row in zip(LEAVES, rows, strict=True):
        into = leaf.replace("%", "%%")
        walker.connection.execute(
            f"INSERT INTO {into} (value, sensor, at) VALUES ('by its own', %s, %s)".encode(), row
        )
    assert _tenants(walker, "by its own") == list(
        zip(LEAVES, ("org-3", "org-1", "org-2", "org-3"), strict=True)
    )


def test_a_partition_that_comes_during_the_migration_has_column_and_guard(walker: Walker) -> None:
    _filled(walker)
    walker.connection.execute(
        """
        CREATE TABLE made PARTITION OF later FOR VALUES IN (4);
        CREATE TABLE brought (value text, tenant_id text NOT NULL DEFAULT '',
          sensor int NOT NULL, at date NOT NULL);
        ALTER TABLE later ATTACH PARTITION brought FOR VALUES IN (5);
        INSERT INTO sensor VALUES (4, 'org-4'), (5, 'org-5');
        INSERT INTO reading VALUES ('2026-01-01', 4, 'new'), ('2026-01-01', 5, 'new');
        """
    )
    assert _tenants(walker, "new") == [("brought", "org-5"), ("made", "org-4")]
    names = {partition.name for partition in walker.live().table("reading").partitions}
    assert {"made", "brought"} <= names
    walker.back(columns.STAGE)
    assert "tenant" not in walker.schema()


def test_a_constant_tenant_is_there_at_once_in_every_partition_and_nothing_is_rewritten(
    database: str, postgres: EmbeddedPostgres
) -> None:
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        walker = Walker(connection, _plan(tenant={"constant": "acme"}), postgres)
        files = "SELECT pg_relation_filenode(relid) FROM pg_partition_tree('reading')"
        before = connection.execute(files).fetchall()
        walker.there(columns.STAGE)
        assert connection.execute(files).fetchall() == before
        counted = "SELECT tenant_id, count(*), count(DISTINCT tableoid) FROM reading GROUP BY 1"
        assert connection.execute(counted).fetchall() == [("acme", 60, len(LEAVES))]


def test_partitions_with_defaults_of_their_own_lose_and_regain_them(
    database: str, postgres: EmbeddedPostgres
) -> None:
    """A row written into a partition by its own name takes the partition's default, not the parent's."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("ALTER TABLE reading ADD tenant_id text DEFAULT ''")
        connection.execute("ALTER TABLE later_1 ALTER tenant_id SET DEFAULT 'mine'")
        connection.execute("ALTER TABLE later_2 ALTER tenant_id DROP DEFAULT")
        walker = Walker(connection, _plan(), postgres)
        before = walker.schema()
        _filled(walker)
        connection.execute("INSERT INTO later_1 VALUES ('2026-02-02', 1, 'own')")
        connection.execute("INSERT INTO later_2 (value, sensor, at) VALUES ('own', 2, '2026-02-02')")
        assert _tenants(walker, "own") == [("later_1", "org-1"), ("later_2", "org-2")]
        while walker.back(columns.STAGE, most=1):
            pass
        assert walker.schema() == before


def test_the_way_back_does_not_miss_a_partition_that_is_gone(
    database: str, postgres: EmbeddedPostgres
) -> None:
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("ALTER TABLE reading ADD tenant_id text")
        connection.execute("ALTER TABLE later_1 ALTER tenant_id SET DEFAULT 'mine'")
        walker = Walker(connection, _plan(), postgres)
        walker.there(columns.STAGE)
        connection.execute("DROP TABLE later_1")
        walker.back(columns.STAGE)
        assert "tenantry" not in walker.schema()


def test_who_is_in_the_way_on_a_partition_is_named(walker: Walker, database: str) -> None:
    add = next(s for s in columns.STAGE.steps(walker.plan, walker.original) if s.what.startswith("reading"))
    with psycopg.connect(database, application_name="long report") as reporting:
        reporting.execute("SELECT FROM later_1")
        with pytest.raises(LockNotGotError, match="long report"):
            locks.take(walker.connection, add, notify=lambda _: None, attempts=1)
