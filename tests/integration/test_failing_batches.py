"""What becomes of batches that fail, are lost, or may not go."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from control import conductor
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.plan.writing import toml
from control.stage import Ground
from control.stages import backfill
from control.stages.backfill import job_of
from sql.errors import QuarantineError
from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, connect
from sql.postgres.ledger import send
from tests.conftest import SAMPLE_ENTITIES
from tests.integration.backfilling import backfilling, plan_of, prepared
from tests.waiting import until
from worker import batch as batches
from worker import ledger, paging
from worker.batch import Failed, Failure, Filling
from worker.ledger import Job

_BAD = "entity-0000000778"
_ON_ONE_ROW = """
CREATE FUNCTION public.on_one_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {do};
    RETURN NEW;
END $$;
CREATE TRIGGER on_one_row BEFORE UPDATE ON public.graph_entities
    FOR EACH ROW {when} EXECUTE FUNCTION public.on_one_row();
"""


def _at_update(connection: psycopg.Connection, do: str, *, of_row: str | None = None) -> None:
    when = f"WHEN (NEW.id = '{of_row}')" if of_row else ""
    connection.execute(_ON_ONE_ROW.format(do=do, when=when).encode())


def _unfilled(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT id FROM graph_entities WHERE tenant_id = '' ORDER BY id")
    return [row[0] for row in rows]


def _tenantry(folder: Path, *arguments: str) -> int:
    program = Path(sys.executable).parent / "tenantry"
    return subprocess.run([program, *arguments], cwd=folder, check=False, timeout=120).returncode


@contextmanager
def _as_a_worker(plan: Plan, queue: str) -> Iterator[tuple[Connection, Ground, Job]]:
    """A connection as workers have it, and the job of the entities."""
    with connect(plan.database.url.get_secret_value(), "test") as connection:
        ground = prepared(plan, connection, queue)
        job = job_of(ground, plan.table("graph_entities"), ground.original.table("graph_entities"))
        never_in_the_way(connection)
        yield connection, ground, job
        assert ground.doorbell is not None
        ground.doorbell.client.close()


@pytest.mark.parametrize(("rows", "failed"), [(2_000, 0), (10, 1)])
def test_a_batch_out_of_time_is_halved_and_counts_as_failed_only_if_it_is_small(
    rows: int, failed: int, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    _at_update(connection, "PERFORM pg_sleep(0.1)")
    with _as_a_worker(plan_of(sample, backfill={"paging": "contiguous"}), valkey.url) as (session, _, job):
        first = paging.plan_group(session, job, batch_rows=rows)[0]
        (batch,) = ledger.slice_of(session, first, first)
        outcome = batches.run(session, batch, Filling(job.table, job.spec))
        assert outcome == Failed(Failure.TIMEOUT, "57014")
        halves = session.execute(
            "SELECT count(*) FROM tenantry.batches WHERE split_from = %s", [batch.id]
        ).fetchone()
        assert halves == (2,)
        assert send(session, "failing", job=job.id)[0]["failed"] == failed


@pytest.mark.parametrize(
    "error",
    [
        "RAISE EXCEPTION 'not this one' USING ERRCODE = 'T0001'",
        "RAISE EXCEPTION 'not this one'",
        "RAISE check_violation USING MESSAGE = 'not this one'",
    ],
)
def test_a_row_that_a_trigger_refuses_is_set_aside_whatever_the_code_and_all_others_are_filled(
    error: str, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    _at_update(connection, error, of_row=_BAD)
    with backfilling(plan_of(sample), valkey.url) as running, pytest.raises(QuarantineError, match=_BAD):
        running.end()
    assert _unfilled(connection) == [_BAD]
    aside = connection.execute("SELECT key, message FROM tenantry.quarantine").fetchall()
    assert aside == [([_BAD], "not this one")]


@pytest.mark.parametrize(("of_row", "status"), [(_BAD, 4), (None, 1)])
def test_after_the_cause_is_mended_a_retry_lets_the_run_fill_what_failed(
    of_row: str | None, status: int, sample: str, connection: psycopg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "migration.toml").write_text(toml(plan_of(sample)))
    _at_update(connection, "RAISE EXCEPTION 'not this one'", of_row=of_row)
    assert _tenantry(tmp_path, "run", "--to", "backfill") == status
    connection.execute("DROP TRIGGER on_one_row ON graph_entities")
    assert _tenantry(tmp_path, "retry") == 0
    assert _tenantry(tmp_path, "run", "--to", "backfill") == 0
    assert _unfilled(connection) == []


def test_a_row_that_ends_its_backend_each_time_is_set_aside_and_all_others_are_filled(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "RING_AGAIN", 0.2)
    _at_update(connection, "PERFORM pg_terminate_backend(pg_backend_pid())", of_row=_BAD)
    with backfilling(plan_of(sample), valkey.url) as running, pytest.raises(QuarantineError, match=_BAD):
        running.end()
    assert _unfilled(connection) == [_BAD]


def test_batches_that_may_not_go_are_rung_again_and_never_split(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "RING_AGAIN", 0.1)
    plan = plan_of(sample)
    _at_update(connection, "PERFORM pg_sleep(0.002)")
    with backfilling(plan, valkey.url) as running:
        running.reach("graph_entities", 0.2)
        conductor.pause(plan, connection)
        most_rings = "SELECT max(rings) FROM tenantry.batches WHERE state = 'pending'"

        def rung_often() -> bool:
            row = connection.execute(most_rings).fetchone()
            return row is not None and (row[0] or 0) > 2 * backfill.LOST

        until(rung_often, 30, "many rings while paused")
        conductor.resume(plan, connection)
        running.end()
    states = connection.execute("SELECT DISTINCT state FROM tenantry.batches").fetchall()
    assert states == [("done",)]


def test_every_row_without_a_tenant_is_set_aside_at_once_and_counted(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(
        "INSERT INTO graph_entities (id, entity_type) "
        "SELECT 'homeless-' || n, 'x' FROM generate_series(1, 1500) AS n"
    )
    with (
        backfilling(plan_of(sample), valkey.url) as running,
        pytest.raises(QuarantineError, match="1500 row"),
    ):
        running.end()
    assert len(_unfilled(connection)) == 1_500
    filled = connection.execute("SELECT count(*) FROM graph_entities WHERE tenant_id <> ''").fetchone()
    assert filled == (SAMPLE_ENTITIES,)


def test_a_source_that_gives_the_sentinel_gives_no_tenant(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(
        """UPDATE graph_entities SET properties = '{"org_id": "none"}' WHERE id = %s""", [_BAD]
    )
    plan = plan_of(sample, tenant={"sentinel": "none"})
    with backfilling(plan, valkey.url) as running, pytest.raises(QuarantineError, match=_BAD):
        running.end()
