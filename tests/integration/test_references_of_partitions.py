"""Foreign keys of partitioned tables and onto them, carried over with the tenant, there and back."""

import os
import random
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors

from control.embedded.postgres import EmbeddedPostgres
from control.plan.model import Plan
from control.preflight import keys as preflight
from control.stage import How
from control.stages import columns, indexes, keys
from sql.postgres.connection import connect
from tests.integration.migrated import ground
from tests.integration.scans import scanned, scans
from tests.integration.walking import Walker

#: Of a partitioned table onto a plain one, of a plain one onto a partitioned one, of one onto another, and of
#: one onto itself; two levels, odd names, actions, comments, deferrable.
SCHEMA = """
CREATE TABLE sensor (id int PRIMARY KEY, org text NOT NULL);
INSERT INTO sensor SELECT n, 'org-' || n % 3 FROM generate_series(1, 9) AS n;
CREATE TABLE reading (at int NOT NULL, sensor int NOT NULL, before int, org text NOT NULL,
  PRIMARY KEY (at, sensor)) PARTITION BY RANGE (at);
CREATE SCHEMA "Old %";
CREATE TABLE "Old %"."first {1}" PARTITION OF reading FOR VALUES FROM (0) TO (100);
CREATE TABLE later PARTITION OF reading DEFAULT PARTITION BY LIST (sensor);
CREATE TABLE later_1 PARTITION OF later FOR VALUES IN (1);
CREATE TABLE later_rest PARTITION OF later DEFAULT;
INSERT INTO reading SELECT n, 1 + n % 9, NULL, 'org-' || (1 + n % 9) % 3 FROM generate_series(1, 200) AS n;
UPDATE reading SET before = at - 9 WHERE at > 9;
ALTER TABLE reading ADD CONSTRAINT "of %" FOREIGN KEY (sensor) REFERENCES sensor ON DELETE CASCADE;
COMMENT ON CONSTRAINT "of %" ON reading IS 'whose it is';
ALTER TABLE reading ADD CONSTRAINT chain FOREIGN KEY (before, sensor) REFERENCES reading
  ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE note (id int PRIMARY KEY, at int, sensor int, org text NOT NULL,
  CONSTRAINT about FOREIGN KEY (at, sensor) REFERENCES reading ON DELETE CASCADE ON UPDATE CASCADE);
COMMENT ON CONSTRAINT about ON note IS 'what it is about';
INSERT INTO note SELECT at, at, sensor, org FROM reading;
CREATE TABLE summary (day int NOT NULL, at int, sensor int, org text NOT NULL,
  CONSTRAINT sums FOREIGN KEY (at, sensor) REFERENCES reading ON DELETE CASCADE) PARTITION BY HASH (day);
CREATE TABLE summary_0 PARTITION OF summary FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE summary_1 PARTITION OF summary FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE summary_1 RENAME CONSTRAINT sums TO "its own";
ALTER TABLE summary_1 ADD CONSTRAINT sums CHECK (day > -9);
ALTER TABLE later_rest RENAME CONSTRAINT "of %" TO "its own";
ALTER TABLE later_rest ADD CONSTRAINT "of %" CHECK (at > -9);
COMMENT ON CONSTRAINT sums ON summary IS 'of what';
INSERT INTO summary SELECT at, at, sensor, org FROM reading;
"""

KEYS: dict[str, list[str] | None] = {
    "sensor": ["id", "tenant_id"],
    "reading": ["at", "sensor", "tenant_id"],
    "note": ["id", "tenant_id"],
    "summary": None,
}
PLAN: dict[str, Any] = {
    "name": "parts",
    "database": {"url": "postgresql:///"},
    "tables": [
        {"name": name, "tenant": {"expression": "org"}} | ({"primary_key": key} if key else {})
        for name, key in KEYS.items()
    ],
}

#: Every foreign key: table, name, definition, and whether the rows of before were held against it.
FOREIGN_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
WHERE contype = 'f' AND conparentid = 0 ORDER BY 1, 2
"""
#: Parts of a foreign key, of the table that it belongs to, that are not validated, or not called as the whole
#: is where nothing else of the partition is called so.
PARTS = """
SELECT count(*) FROM pg_constraint AS k JOIN pg_constraint AS up ON up.oid = k.conparentid
WHERE k.contype = 'f' AND k.confrelid = up.confrelid AND (k.conname <> up.conname OR NOT k.convalidated)
  AND NOT EXISTS (
    SELECT FROM pg_constraint AS own
    WHERE own.conrelid = k.conrelid AND own.contype = 'c' AND own.conname = up.conname AND k.convalidated
  )
"""


SEED = os.environ.get("SEED", "1")


@pytest.fixture
def walker(database: str, postgres: EmbeddedPostgres) -> Iterator[Walker]:
    """A walker right before the keys."""
    with connect(database, "test") as connection:
        connection.execute(SCHEMA.encode())
        walker = Walker(connection, Plan.model_validate(PLAN), postgres)
        walker.there(columns.STAGE)
        for name in KEYS:
            connection.execute(f"UPDATE {name} SET tenant_id = org".encode())
        walker.there(indexes.STAGE)
        yield walker


def _all(walker: Walker) -> list[tuple[Any, ...]]:
    return walker.connection.execute(FOREIGN_KEYS).fetchall()


def test_each_holds_the_tenant_afterwards_validated_under_its_name_on_every_partition(walker: Walker) -> None:
    before = _all(walker)
    found = preflight.look(ground(walker.connection, walker.plan, walker.original))
    assert [finding.fact for finding in found if finding.level == "stop"] == []
    walker.there(keys.STAGE)
    after = _all(walker)
    assert [(table, name) for table, name, *_ in after] == [(table, name) for table, name, *_ in before]
    assert all("tenant_id) REFERENCES" in definition and valid for _, _, definition, valid in after), after
    for table in ("reading", "note", "summary"):
        for key in walker.live().table(table).foreign_keys:
            was = walker.original.table(table).foreign_key(key.name)
            assert was is not None
            assert key.comment == was.comment
            assert (key.on_delete, key.on_update, key.deferrable, key.deferred) == (
                *(was.on_delete, was.on_update, was.deferrable, was.deferred),
            )
    assert walker.connection.execute(PARTS).fetchone() == (0,), "each partition's is called as the whole's"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO note VALUES (9999, 5, 6, 'x', 'another')",
        "INSERT INTO summary VALUES (9999, 5, 6, 'x', 'another')",
        "INSERT INTO reading VALUES (9999, 6, NULL, 'x', 'another')",
        "INSERT INTO reading VALUES (9999, 6, 5, 'x', 'org-1')",
    ],
)
def test_no_row_of_one_tenant_points_to_another_ones(walker: Walker, statement: str) -> None:
    walker.there(keys.STAGE)
    with pytest.raises(errors.ForeignKeyViolation):
        walker.connection.execute(statement.encode())


def test_a_deletion_takes_along_what_it_took_along_before(walker: Walker) -> None:
    walker.there(keys.STAGE)
    walker.connection.execute("DELETE FROM sensor WHERE id = 3")
    for table in ("reading", "note", "summary"):
        left = walker.connection.execute(f"SELECT FROM {table} WHERE sensor = 3".encode())
        assert left.rowcount == 0, table


def _turned_round(walker: Walker, points: Iterable[int]) -> None:
    """Walk so many steps there, and back again, for each of the points."""
    walker.back(indexes.STAGE)
    before = (walker.schema(), _all(walker))
    walker.there(indexes.STAGE)
    for most in points:
        walker.there(keys.STAGE, most=most)
        while walker.back(keys.STAGE, most=3):
            pass
        walker.back(indexes.STAGE)
        assert (walker.schema(), _all(walker)) == before, f"after {most} steps, SEED={SEED}"
        walker.there(indexes.STAGE)


def _steps(walker: Walker) -> int:
    return len(list(keys.STAGE.steps(walker.plan, walker.original)))


def test_broken_off_at_a_few_points_a_walk_goes_back_to_what_was(walker: Walker) -> None:
    _turned_round(walker, random.Random(SEED).sample(range(1, _steps(walker)), 3))


@pytest.mark.full
def test_broken_off_after_any_step_a_walk_goes_back_to_what_was(walker: Walker) -> None:
    _turned_round(walker, range(1, _steps(walker)))


def test_a_walk_back_that_is_broken_off_is_turned_round_too(walker: Walker) -> None:
    walker.there(keys.STAGE)
    after = (walker.schema(), _all(walker))
    for most in random.Random(SEED).sample(range(1, _steps(walker)), 3):
        walker.back(keys.STAGE, most=most)
        walker.there(keys.STAGE)
        assert (walker.schema(), _all(walker)) == after, f"after {most} steps, SEED={SEED}"


def test_at_no_moment_could_a_row_without_its_reading_be_written(walker: Walker) -> None:
    """Tried between any two statements, by whoever comes without a tenant and by whoever has one."""
    orphan = "INSERT INTO {} (id, at, sensor, org) VALUES (-1, -1, 1, 'org-1')"
    of_parts = "INSERT INTO {} (day, at, sensor, org) VALUES (-1, -1, 1, 'org-1')"
    for way in (walker.there, walker.back):
        while way(keys.STAGE, most=1):
            for statement in (orphan.format("note"), of_parts.format("summary")):
                with pytest.raises(psycopg.errors.ForeignKeyViolation):
                    walker.connection.execute(statement.encode())


def test_nothing_is_read_under_a_strong_lock(walker: Walker) -> None:
    """No table or index is scanned by a statement that others wait for, on either way."""
    connection = walker.connection
    for stage_steps in (keys.STAGE.steps, keys.STAGE.undo):
        for step in stage_steps(walker.plan, walker.original):
            if step.how is not How.BRIEF or step.done(walker.live()):
                walker.take([step])
                continue
            with connection.transaction():
                read = scans(connection)
                connection.execute(step.statement)
                assert scanned(connection, read) == [], step.what
            assert step.done(walker.live()), step.what
