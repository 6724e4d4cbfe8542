"""The sweep at the end: it finds what the batches left, sets aside what can't be filled, and ends."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest

from control import completion, proof
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.queue import namespace_of
from control.stage import Ground
from control.stages import backfill
from sql.errors import JobStoppedError, QuarantineError
from tests.integration.backfilling import filling
from tests.integration.stationed import grounded, planned
from tests.integration.worker_threads import worker_threads
from tests.waiting import until
from worker.jobs import release

#: The tenant of a row, for which a zero is an error of the data.
_DIVIDED = {"name": "shares", "tenant": {"expression": "(100 / n)::text"}}


@pytest.fixture
def operator(database: str) -> Iterator[psycopg.Connection]:
    """The operator's session on a database with one table to fill, of a thousand rows."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE shares (id bigint PRIMARY KEY, n int)")
        connection.execute("INSERT INTO shares SELECT n, n FROM generate_series(1, 1000) AS n")
        yield connection


def _plan(url: str, table: dict[str, Any]) -> Plan:
    return Plan.model_validate(
        {"name": "swept", "database": {"url": url}, "backfill": {"first_batch": 100}, "tables": [table]}
    )


def _unfilled(operator: psycopg.Connection) -> list[int]:
    return [row[0] for row in operator.execute("SELECT id FROM shares WHERE tenant_id = '' ORDER BY id")]


def test_rows_whose_source_fails_are_set_aside_once_and_not_asked_again(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    operator.execute("UPDATE shares SET n = 0 WHERE id IN (7, 400)")
    with (
        pytest.raises(QuarantineError, match=r"2 row\(s\).*division by zero"),
        filling(_plan(database, _DIVIDED), valkey.url) as running,
    ):
        running.end()
    assert _unfilled(operator) == [7, 400]


def test_a_row_beyond_the_bound_whose_source_fails_is_set_aside_too(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with (
        psycopg.connect(database) as holder,
        filling(
            _plan(database, _DIVIDED),
            valkey.url,
            # The row that is held keeps the job from its end until the new row is there.
            between=lambda: holder.execute("SELECT FROM shares WHERE id = 500 FOR UPDATE"),
        ) as running,
    ):
        until(lambda: running.begun('"public"."shares"'), "the job")
        operator.execute("INSERT INTO shares VALUES (5000, 0)")
        holder.rollback()
        with pytest.raises(QuarantineError, match=r"1 row\(s\).*5000.*division by zero"):
            running.end()
    assert _unfilled(operator) == [5000]


@pytest.mark.parametrize("kept_by", ["RETURN NULL", "NEW.tenant_id := ''; RETURN NEW"])
def test_sweeps_end_where_a_trigger_keeps_rows_as_they_are_however_many(
    kept_by: str,
    database: str,
    operator: psycopg.Connection,
    valkey: EmbeddedValkey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More of them than one sweep hands over."""
    monkeypatch.setattr(proof, "SWEPT", 4)
    monkeypatch.setattr(completion, "SWEPT", 4)
    monkeypatch.setattr(completion, "SWEEPS", 3)
    monkeypatch.setattr(proof, "swept_together", lambda _left, _rows: 1)
    operator.execute(
        f"""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {kept_by}; END $$;
        CREATE TRIGGER keep BEFORE UPDATE ON shares
          FOR EACH ROW WHEN (NEW.id % 100 = 0) EXECUTE FUNCTION keep();
        """.encode()
    )
    table = {"name": "shares", "tenant": {"expression": "n::text"}}
    with (
        pytest.raises(JobStoppedError, match="3 sweeps"),
        filling(_plan(database, table), valkey.url) as running,
    ):
        running.end()
    assert len(_unfilled(operator)) == 10


def test_a_row_is_looked_at_again_whose_source_changed_its_mind_during_the_proof(
    database: str, operator: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """Neither set aside, for it had a tenant then, nor swept, for it had none any more; and not complete."""
    operator.execute(
        """
        TRUNCATE shares;
        INSERT INTO shares VALUES (1, 1);
        CREATE SEQUENCE looks;
        CREATE FUNCTION tenant_of(n int) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN
            IF current_query() LIKE '%INSERT INTO tenantry.quarantine%' THEN
                PERFORM nextval('looks');
                RETURN 'x';
            END IF;
            RETURN (SELECT CASE WHEN last_value > 1 THEN 'x' END FROM looks);
        END $$
        """
    )
    table = {"name": "shares", "tenant": {"expression": "tenant_of(n)"}}
    with filling(_plan(database, table), valkey.url) as running:
        running.end()
    assert _unfilled(operator) == []


def test_a_row_that_comes_without_its_tenant_after_the_proof_opens_the_stage_again_which_fills_it(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with grounded(sample, valkey) as (ground, _), _worker(ground, sample, valkey):
        backfill.STAGE.work(ground)
        assert not backfill.STAGE.amended(ground)
        with connection.transaction():
            # As a transaction's that began before the guard was there: nobody tells it a tenant.
            connection.execute("SET LOCAL session_replication_role = replica")
            one = "SELECT min(id) FROM graph_entities"
            connection.execute(f"UPDATE graph_entities SET tenant_id = '' WHERE id = ({one})".encode())
        assert backfill.STAGE.amended(ground)
        backfill.STAGE.work(ground)
        assert not backfill.STAGE.amended(ground)
    assert connection.execute("SELECT FROM graph_entities WHERE tenant_id = ''").rowcount == 0


def test_a_job_that_has_stopped_itself_stops_the_next_run_before_it_begins_another_until_it_is_tried_again(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with grounded(sample, valkey) as (ground, session), _worker(ground, sample, valkey):
        planned(ground, session)
        connection.execute("UPDATE tenantry.jobs SET state = 'stopped', reason = 'closed for today'")
        with pytest.raises(JobStoppedError, match="closed for today"):
            backfill.STAGE.work(ground)
        jobs = "SELECT table_name, state FROM tenantry.jobs ORDER BY id"
        assert connection.execute(jobs).fetchall() == [("graph_entities", "stopped")]
        release(session, ground.migration)
        backfill.STAGE.work(ground)
        assert [state for _, state in connection.execute(jobs)] == ["complete", "complete"]


def _worker(ground: Ground, url: str, valkey: EmbeddedValkey) -> AbstractContextManager[None]:
    return worker_threads(1, url=url, queue=valkey.url, namespace=namespace_of(ground.plan))
