"""The `locks:` lines of a batch's and of paging's statements, held against the server's lock table."""

from collections.abc import Iterator

import pytest
from psycopg import sql

from control.embedded.valkey import EmbeddedValkey
from control.stages.backfill import jobs_of
from sql.named import Statement
from sql.postgres.batch import BATCH, JobSQL, bound_parameters, never_in_the_way, range_parameters
from sql.postgres.connection import Connection, connect
from sql.postgres.paging import PAGING
from tests.integration.backfilling import plan_of, prepared
from tests.lock_table import MODES, named, strongest
from worker import jobs, paging
from worker.jobs import Batch, Job

_LEDGER = "tenantry."


@pytest.fixture
def filled_parent(sample: str, valkey: EmbeddedValkey) -> Iterator[tuple[Connection, Job, Batch]]:
    """A connection, the job of the relations with its first group planned, and a batch of it."""
    with connect(sample, "test") as connection:
        plan = plan_of(sample)
        ground = prepared(plan, connection, valkey.url)
        never_in_the_way(connection)  # as a worker: the relations wait for their own batches
        connection.execute("UPDATE graph_entities SET tenant_id = properties->>'org_id'")
        (job,) = jobs_of(ground, plan.table("graph_relations"), [ground.original.table("graph_relations")])
        ids = paging.plan_group(connection, job, batch_rows=100)
        yield connection, job, jobs.slice_of(connection, ids[-1], ids[-1])[0]
        assert ground.doorbell is not None
        ground.doorbell.client.close()


def _compare(
    connection: Connection, statement: Statement, composed: sql.Composed, **parameters: object
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(composed, parameters)
        held = strongest(connection)
        modes = {mode for table, mode in held.items() if not table.startswith(_LEDGER)}
        assert modes <= named(statement), f"{statement.name}: {held}"
        assert max(held.values(), key=MODES.index) in named(statement), f"{statement.name}: {held}"


def test_a_batch_takes_the_locks_that_its_lines_name(filled_parent: tuple[Connection, Job, Batch]) -> None:
    connection, job, batch = filled_parent
    job_sql = JobSQL(job.spec)
    bounds, shape = range_parameters(batch.range), batch.range.shape
    _compare(connection, BATCH.fill, job_sql.fill(shape), batch=batch.id, **bounds)
    _compare(connection, BATCH.fill_unlocked, job_sql.fill_unlocked(shape), batch=batch.id, **bounds)
    _compare(connection, BATCH.middle, job_sql.middle(shape), **bounds)


def test_paging_takes_the_locks_that_its_lines_name(filled_parent: tuple[Connection, Job, Batch]) -> None:
    connection, job, batch = filled_parent
    job_sql = JobSQL(job.spec)
    bounds = bound_parameters("upper", batch.range.upper)
    _compare(connection, PAGING.last_key, job_sql.last_key())
    _compare(connection, PAGING.edges, job_sql.edges(lower=False), rows=100, width=10, **bounds)
    _compare(connection, PAGING.unfilled, job_sql.unfilled())
    _compare(connection, PAGING.set_aside, job_sql.set_aside(), job=job.id)
    _compare(connection, PAGING.sweep, job_sql.sweep(), job=job.id, each=10, most=10)
    table = sql.Identifier(job.spec.schema_, job.spec.table)
    _compare(connection, PAGING.sampled, PAGING.sampled.beside_parameters(table=table), share=1.0)


def test_a_batch_that_waits_for_nobody_leaves_locked_rows_to_a_batch_of_their_own(
    filled_parent: tuple[Connection, Job, Batch], sample: str
) -> None:
    connection, job, batch = filled_parent
    job_sql = JobSQL(job.spec)
    bounds, shape = range_parameters(batch.range), batch.range.shape
    with connect(sample, "application") as application, application.transaction():
        application.execute("SELECT FROM graph_relations FOR UPDATE")
        statement = job_sql.fill_unlocked(shape)
        row = connection.execute(statement, {"batch": batch.id, **bounds}).fetchone()
    assert row is not None
    _rows, _duration, rest = row
    (left,) = jobs.slice_of(connection, rest, rest)
    assert left.range == batch.range
    done = connection.execute(job_sql.fill(shape), {"batch": left.id, **bounds}).fetchone()
    assert done is not None
    assert done[0] > 0
