"""Partitions that come while the migration runs, as one of every new day does, go there and back with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import errors

from control.arrivals import taken_along
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.stage import Stage
from control.stages import columns, indexes, keys
from sql.errors import GateClosedError
from sql.postgres.connection import connect
from tests.integration.migrated import ground
from tests.integration.operating import Operator, nobody
from tests.integration.test_keys_of_partitions import FILL, PLAN, SCHEMA
from tests.integration.walking import Walker

#: The plan of an operator, up to policies that only observe.
FILE = """
name = "parts"
[database]
url = "env:DATABASE_URL"
[[tables]]
name = "reading"
tenant = { expression = "org" }
indexes = [{ name = "by tenant", columns = ["tenant_id"] }]
primary_key = ["at", "sensor", "tenant_id"]
rls = { policy = "by tenant", mode = "observe" }
"""


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker on the partitioned tables, before the first step."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA)
        yield Walker(connection, Plan.model_validate(PLAN), postgres)


@pytest.fixture
def operator_of_parts(
    database: str,
    postgres: EmbeddedPostgres,
    valkey: EmbeddedValkey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Operator:
    """An operator whose plan is of the partitioned tables."""
    monkeypatch.setenv("DATABASE_URL", database)
    (tmp_path / "migration.toml").write_text(FILE)
    with connect(database, "test") as connection:
        connection.execute(SCHEMA)
    return Operator(tmp_path, database, postgres, valkey.url)


def _come(walker: Walker, number: int) -> None:
    """A leaf, and a partition with a partition of its own, as the application's cron job makes them."""
    walker.connection.execute(
        f"CREATE TABLE leaf_{number} PARTITION OF later FOR VALUES IN ({number});"
        f"CREATE TABLE branch_{number} PARTITION OF later FOR VALUES IN ({number + 100}) "
        "PARTITION BY RANGE (at);"
        f"CREATE TABLE twig_{number} PARTITION OF branch_{number} DEFAULT;"
        f"INSERT INTO reading (at, sensor, org, value) VALUES ('2026-01-01', {number}, 'acme', 'v'), "
        f"('2026-01-01', {number + 100}, 'acme', 'v')".encode()
    )


def _go(walker: Walker, stage: Stage, *, back: bool = False, most: int | None = None) -> None:
    """A stage as the conductor goes through it: over what has come until then."""
    original = taken_along(walker.connection, walker.plan, walker.original)
    way = stage.undo if back else stage.steps
    walker.take(way(walker.plan, original), most=most)


def test_partitions_that_come_at_any_time_end_as_if_they_had_been_there_from_the_beginning(
    walker: Walker,
) -> None:
    before = walker.schema()
    _go(walker, columns.STAGE)
    _come(walker, 1001)
    walker.connection.execute(FILL)
    _go(walker, indexes.STAGE, most=9)
    _come(walker, 1002)
    walker.connection.execute(FILL)
    _go(walker, indexes.STAGE)
    _come(walker, 1003)
    walker.connection.execute(FILL)
    _go(walker, keys.STAGE)
    _come(walker, 1004)

    reading = walker.live().table("reading")
    whole = {"by tenant", "by tenant and day"}
    for part in (*reading.branches, *reading.partitions):
        assert part.primary_key is not None, part.name
        assert part.primary_key.columns == ("at", "sensor", "tenant_id"), part.name
        assert all(index.valid and index.attached_to for index in part.indexes), part.name
        assert len(part.indexes) == len(whole) + 1, part.name
    walker.connection.execute(
        "INSERT INTO leaf_1003 (at, sensor, tenant_id) VALUES ('2026-02-02', 1003, 'a')"
    )

    _go(walker, keys.STAGE, back=True, most=3)
    _come(walker, 1005)
    for stage in (keys.STAGE, indexes.STAGE, columns.STAGE):
        _go(walker, stage, back=True)
    after = walker.live().table("reading")
    assert {part.primary_key.columns for part in after.partitions if part.primary_key} == {("at", "sensor")}
    for number in range(1001, 1006):
        walker.connection.execute(f"DROP TABLE leaf_{number}, branch_{number}".encode())
    assert walker.schema() == before


def test_old_rows_of_a_partition_that_is_attached_after_the_backfill_get_their_tenant_by_the_next_run(
    operator_of_parts: Operator,
) -> None:
    operator = operator_of_parts
    operator.run_to("backfill", count=1)
    with connect(operator.url, "test") as connection:
        connection.execute(
            "CREATE TABLE brought (LIKE reading INCLUDING ALL);"
            "INSERT INTO brought (at, sensor, org, tenant_id) VALUES ('2026-01-01', 2001, 'acme', '');"
            "ALTER TABLE later ATTACH PARTITION brought FOR VALUES IN (2001)"
        )
        operator.run_to("indexes", count=1)
        found = connection.execute("SELECT tenant_id FROM reading WHERE sensor = 2001").fetchall()
        assert found == [("acme",)]
        told = connection.execute("SELECT count(*) FROM tenantry.events WHERE kind = 'amended'").fetchone()
        assert told == (1,)
        operator.run_to("indexes")
        assert connection.execute(
            "SELECT count(*) FROM tenantry.events WHERE kind = 'amended'"
        ).fetchone() == (1,), "nothing has come since"


@pytest.mark.full
def test_a_run_there_and_back_takes_along_what_comes_between_its_stages(
    operator_of_parts: Operator, postgres: EmbeddedPostgres
) -> None:
    operator = operator_of_parts
    with connect(operator.url, "test") as connection:
        before = operator.schema()
        walker = Walker(connection, read_plan(operator.plan), postgres)
        for number, (stage, workers) in enumerate((("columns", 0), ("indexes", 1), ("keys", 0), ("rls", 0))):
            operator.run_to(stage, count=workers)
            _come(walker, 1001 + number)
        operator.run_to("rls")
        reading = walker.live().table("reading")
        for part in (reading, *reading.branches, *reading.partitions):
            assert part.row_security, part.name
            assert part.policy("by tenant") is not None, part.name
            assert part.primary_key is not None, part.name
            assert part.primary_key.columns == ("at", "sensor", "tenant_id"), part.name
        unfilled = connection.execute("SELECT count(*) FROM reading WHERE tenant_id <> org").fetchone()
        assert unfilled == (0,)
        operator.back_to(None, nobody)
        for number in range(1001, 1005):
            connection.execute(f"DROP TABLE leaf_{number}, branch_{number}".encode())
    assert operator.schema("--exclude-schema=tenantry") == before


def test_a_partition_that_comes_right_before_the_swap_of_the_key_stops_it_and_the_next_run_goes_on(
    walker: Walker,
) -> None:
    _go(walker, columns.STAGE)
    walker.connection.execute(FILL)
    _go(walker, indexes.STAGE)
    on = ground(walker.connection, walker.plan, walker.original)
    (swap, *_) = [step for step in keys.STAGE.steps(walker.plan, walker.original) if step.gate is not None]
    assert swap.gate is not None
    assert swap.gate(on)
    _come(walker, 1001)
    with pytest.raises(GateClosedError, match="a moment ago"):
        swap.gate(on)
    _go(walker, keys.STAGE)
    walker.connection.execute(
        "INSERT INTO leaf_1001 (at, sensor, tenant_id) VALUES ('2026-02-02', 1001, 'a')"
    )
    with pytest.raises(errors.UniqueViolation):
        walker.connection.execute(
            "INSERT INTO leaf_1001 (at, sensor, tenant_id) VALUES ('2026-02-02', 1001, 'a')"
        )
