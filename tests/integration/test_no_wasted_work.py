"""A backfill does nothing twice, and nothing that it need not do."""

import psycopg
import pytest

from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from tests.integration.backfilling import filling
from tests.integration.reporting import report

_ROWS = 20_000
_BIG = f"""
CREATE TABLE big (id bigint PRIMARY KEY, kind text NOT NULL, payload jsonb NOT NULL);
INSERT INTO big
SELECT n, 'kind-' || n % 20, jsonb_build_object('org', 'org-' || n % 7, 'note', repeat('x', 100))
FROM generate_series(1, {_ROWS}) AS n;
CREATE INDEX ON big (kind);
CREATE SEQUENCE asked;
CREATE FUNCTION org_of(given jsonb) RETURNS text LANGUAGE plpgsql COST 0.001 AS $$
BEGIN PERFORM nextval('public.asked'); RETURN given->>'org'; END $$;
ANALYZE big;
"""


@pytest.fixture
def big(sample: str) -> str:
    """A database with a table of a few hundred pages, and a function that counts how often it is asked.

    The planner takes it for cheaper than whatever else a batch asks of a row.
    """
    with psycopg.connect(sample, autocommit=True) as connection:
        connection.execute(_BIG.encode())
    return sample


def _plan(url: str, paging: str) -> Plan:
    return Plan.model_validate(
        {
            "name": "big",
            "database": {"url": url},
            "tables": [{"name": "big", "tenant": {"expression": "org_of(payload)"}}],
            "backfill": {"paging": paging},
        }
    )


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_row_s_tenant_is_worked_out_for_its_own_batch_alone(
    big: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with filling(_plan(big, "pages"), valkey.url) as running:
        running.end()
    # Once to know that it can be, once to write it.
    assert _one(connection, "SELECT last_value FROM asked") == 2 * _ROWS


def test_a_table_visited_in_stripes_keeps_its_size_and_its_indexes(
    big: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute("CREATE TABLE before AS SELECT pg_total_relation_size('big') AS size")
    with filling(_plan(big, "pages"), valkey.url) as running:
        running.end()
    report(connection)
    assert _one(connection, "SELECT 100 * pg_total_relation_size('big') / size FROM before") < 125
    share = "SELECT 100 * n_tup_hot_upd / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'big'"
    assert _one(connection, share) > 75


def test_a_row_that_has_its_tenant_is_not_written_again(
    big: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute("ALTER TABLE big ADD COLUMN tenant_id text NOT NULL DEFAULT ''")
    connection.execute("UPDATE big SET tenant_id = 'acme' WHERE id % 2 = 0")
    connection.execute("CREATE TABLE before AS SELECT id, xmin AS written FROM big WHERE tenant_id = 'acme'")
    with filling(_plan(big, "pages"), valkey.url) as running:
        running.end()
    untouched = "SELECT count(*) FROM before JOIN big USING (id) WHERE big.xmin = written"
    assert _one(connection, untouched) == _ROWS // 2
    assert _one(connection, "SELECT count(*) FROM big WHERE tenant_id = 'acme'") == _ROWS // 2
