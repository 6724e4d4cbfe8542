"""The backfill of a partitioned table: each leaf by its own key, and leaves that come or go meanwhile."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from sql.postgres.connection import connect
from tests.integration.backfilling import filling
from worker import jobs, ledger
from worker.jobs import Job

#: Leaves on two levels with every kind of key; the parent has none. Counts each update, row by row.
SCHEMA = """
CREATE TABLE sensor (id int PRIMARY KEY, owner text NOT NULL);
INSERT INTO sensor SELECT n, 'org-' || n % 7 FROM generate_series(1, 40) AS n;
CREATE TABLE reading (n bigint NOT NULL, sensor int NOT NULL, at date NOT NULL, value text)
  PARTITION BY RANGE (at);
CREATE TABLE spring PARTITION OF reading (PRIMARY KEY (n))
  FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE autumn PARTITION OF reading FOR VALUES FROM ('2026-07-01') TO ('2027-01-01')
  PARTITION BY LIST (sensor);
CREATE TABLE autumn_low PARTITION OF autumn (PRIMARY KEY (sensor, at, n))
  FOR VALUES IN (1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
CREATE TABLE autumn_mid (value text, at date NOT NULL, sensor int NOT NULL, n bigint NOT NULL);
CREATE UNIQUE INDEX ON autumn_mid (n DESC);
ALTER TABLE autumn ATTACH PARTITION autumn_mid FOR VALUES IN (11, 12, 13, 14, 15, 16, 17, 18, 19, 20);
CREATE TABLE autumn_high PARTITION OF autumn DEFAULT;
CREATE TABLE other PARTITION OF reading DEFAULT;
INSERT INTO reading
  SELECT n, 1 + n % 40, date '2025-11-01' + n % 400, 'x' FROM generate_series(1, 4000) AS n;
CREATE TABLE updates_seen (n bigint NOT NULL);
CREATE FUNCTION see_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_sleep({seconds});
  INSERT INTO updates_seen VALUES (NEW.n);
  RETURN NEW;
END $$;
CREATE TRIGGER see_update BEFORE UPDATE ON reading FOR EACH ROW EXECUTE FUNCTION see_update();
"""

#: Old rows, brought by a table that has the column, but nobody's tenant in it.
ATTACHED = """
CREATE TABLE brought (LIKE reading);
ALTER TABLE brought ALTER tenant_id SET DEFAULT '';
INSERT INTO brought (n, sensor, at)
  SELECT n, 1 + n % 40, date '2027-01-01' + n % 300 FROM generate_series(10001, 10500) AS n;
ANALYZE brought;
ALTER TABLE reading ATTACH PARTITION brought FOR VALUES FROM ('2027-01-01') TO ('2028-01-01');
"""


@pytest.fixture
def operator(database: str) -> Iterator[psycopg.Connection]:
    """The operator's session on an empty database."""
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def _plan(url: str, *more: dict[str, Any], **reading: Any) -> Plan:
    """The readings' tenants by their sensors, or as told; batches as small as they get."""
    tables = [
        {"name": "sensor", "tenant": {"expression": "owner"}},
        {"name": "reading", "tenant": {"parent": "sensor", "on": {"sensor": "id"}}} | reading,
        *more,
    ]
    given = {"name": "parts", "database": {"url": url}, "backfill": {"first_batch": 100}, "tables": tables}
    return Plan.model_validate(given)


def _jobs(url: str) -> dict[str, Job]:
    with connect(url, "test") as connection:
        migration = ledger.read(connection, "parts")
        return {job.part: job for job in jobs.of_migration(connection, migration.id)}


def _number(connection: psycopg.Connection, query: bytes) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _wrong(connection: psycopg.Connection) -> int:
    """Readings that don't have their sensor's tenant."""
    return _number(
        connection,
        b"SELECT count(*) FROM reading AS r JOIN sensor AS s ON s.id = r.sensor WHERE r.tenant_id <> s.owner",
    )


def test_each_leaf_is_filled_by_its_own_key_or_its_pages_and_every_row_once(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    operator.execute(SCHEMA.format(seconds=0).encode())
    with filling(_plan(database), valkey.url) as running:
        running.end()
    jobs = {part: job for part, job in _jobs(database).items() if job.table == "reading"}
    assert {part: [column.name for column in job.spec.key] for part, job in jobs.items()} == {
        '"public"."spring"': ["n"],
        '"public"."autumn_low"': ["sensor", "at", "n"],
        '"public"."autumn_mid"': ["n"],
        '"public"."autumn_high"': [],
        '"public"."other"': [],
    }
    assert {job.state for job in jobs.values()} == {"complete"}
    assert _wrong(operator) == 0
    assert operator.execute("SELECT count(*), count(DISTINCT n) FROM updates_seen").fetchone() == (4000, 4000)


def test_a_partition_attached_meanwhile_with_old_rows_is_filled_too(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    operator.execute(SCHEMA.format(seconds=0.0005).encode())
    with filling(_plan(database), valkey.url) as running:
        running.reach("reading", 0.1)
        operator.execute(ATTACHED)
        assert not running.begun('"public"."brought"')
        running.end()
    assert '"public"."brought"' in _jobs(database)
    assert _number(operator, b"SELECT count(*) FROM reading") == 4500
    assert _wrong(operator) == 0


def test_a_partition_attached_while_a_later_table_is_filled_is_filled_too(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """The table's own turn was over by then."""
    operator.execute(SCHEMA.format(seconds=0).encode())
    operator.execute("CREATE TABLE slow (id int PRIMARY KEY)")
    operator.execute("INSERT INTO slow SELECT generate_series(1, 2000)")
    slow = {"name": "slow", "tenant": {"expression": "CASE WHEN pg_sleep(0.001) IS NOT NULL THEN 'acme' END"}}
    with filling(_plan(database, slow), valkey.url) as running:
        running.reach("slow", 0.1)
        operator.execute(ATTACHED)
        assert running.share_done("slow") < 1
        running.end()
    assert _wrong(operator) == 0


def test_a_partition_attached_to_a_table_of_one_tenant_brings_rows_to_fill(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """The other rows have it from the column's default, and no batch ever looks at them."""
    operator.execute(SCHEMA.format(seconds=0).encode())
    plan = _plan(database, tenant={"constant": "acme"})
    with filling(plan, valkey.url, between=lambda: operator.execute(ATTACHED)) as running:
        running.end()
    assert operator.execute("SELECT DISTINCT tenant_id FROM reading").fetchall() == [("acme",)]
    assert _number(operator, b"SELECT count(*) FROM updates_seen") == 500


@pytest.mark.parametrize(
    "away",
    ["DROP TABLE autumn_high", "DROP TABLE other", "ALTER TABLE reading DETACH PARTITION other"],
    ids=["dropped in its turn", "dropped before it", "detached"],
)
def test_a_partition_that_goes_meanwhile_does_not_stop_the_others(
    away: str, database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """As old months do, by a job that knows nothing of the backfill."""
    operator.execute(SCHEMA.format(seconds=0.0005).encode())
    with filling(_plan(database), valkey.url) as running:
        running.reach("reading", 0.1)
        operator.execute(away.encode())
        running.end()
    assert _wrong(operator) == 0
    assert _number(operator, b"SELECT count(*) FROM reading WHERE tenant_id = ''") == 0
    assert {job.state for job in _jobs(database).values()} == {"complete"}
