"""What a worker process knows and says between two messages."""

from collections.abc import Iterator

import psycopg
import pytest

from control import conductor, status
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.plan.model import Plan
from control.queue import namespace_of
from control.stages.backfill import jobs_of
from control.worker_pool import workers
from sql.postgres.connection import connect
from tests.integration.backfilling import plan_of, prepared
from tests.integration.stationed import station_of
from tests.waiting import until
from worker import jobs, ledger, paging
from worker.slice import _JOBS_KEPT, Station, _Session


@pytest.fixture
def station(sample: str, valkey: EmbeddedValkey) -> Iterator[Station]:
    """A worker's station in this process."""
    with station_of(sample, valkey, "test", "station") as here:
        yield here


def _planned(plan: Plan, url: str, queue: str) -> tuple[int, int]:
    """A migration on record, all of its entities planned: the first and the last batch."""
    with connect(url, "test") as connection:
        ground = prepared(plan, connection, queue)
        assert ground.doorbell is not None
        ground.doorbell.client.close()
        (job,) = jobs_of(ground, plan.table("graph_entities"), [ground.original.table("graph_entities")])
        ids: list[int] = []
        while not (job := jobs.read(connection, job.id)).planned:
            ids += paging.plan_group(connection, job, batch_rows=100)
        return ids[0], ids[-1]


def _tenants(connection: psycopg.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT DISTINCT tenant_id FROM graph_entities")}


def test_a_worker_that_outlives_a_ledger_takes_the_new_one_at_its_word(
    station: Station, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    station.work(*_planned(plan_of(sample), sample, valkey.url))
    assert len(_tenants(connection)) > 1
    connection.execute("DROP SCHEMA tenantry, tenantry_guard CASCADE")
    for table in ("graph_entities", "graph_relations"):
        connection.execute(f"ALTER TABLE {table} DROP COLUMN tenant_id".encode())
    entities, relations = plan_of(sample).model_dump()["tables"]
    entities["tenant"] = {"expression": "'of-' || entity_type"}
    station.work(*_planned(plan_of(sample, tables=[entities, relations]), sample, valkey.url))
    assert {tenant[:3] for tenant in _tenants(connection)} == {"of-"}


def test_a_reason_to_hold_that_a_worker_of_the_same_name_left_goes_with_the_first_batch(
    station: Station, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    """In a container a worker that is started again has the name of the one that died."""
    plan = plan_of(sample)
    batches = _planned(plan, sample, valkey.url)
    connection.execute("""UPDATE tenantry.migrations SET held = '{"test": {"reason": "replica lag"}}'""")
    station.work(*batches)
    with connect(sample, "test") as session:
        assert ledger.read(session, plan.name).held is None


def test_a_reason_to_hold_that_a_dead_worker_left_is_shown_to_nobody(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    _planned(plan, sample, valkey.url)
    held = '{"gone": {"reason": "replica lag", "since": "2026-01-01T00:00:00Z"}}'
    connection.execute("UPDATE tenantry.migrations SET held = %s", [held])
    with connect(sample, "test") as session:
        assert status.read(session, plan.name).held is None
        with connect(sample, "worker gone"):
            assert status.read(session, plan.name).held == "replica lag"


def test_a_migration_goes_on_while_a_newer_one_in_the_same_database_is_paused(
    station: Station, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    batches = _planned(plan, sample, valkey.url)
    with connect(sample, "test") as session:
        settings = conductor.settings_of(plan, throttle=True)
        newer = ledger.begin(session, name="newer", tables=[], original={}, settings=settings)
        ledger.set_state(session, newer.id, "paused")
    station.work(*batches)
    assert "" not in _tenants(connection)


def test_a_worker_told_to_stop_ends_in_order(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample)
    alive = (
        "SELECT FROM pg_stat_activity WHERE application_name LIKE 'tenantry worker %' "
        "AND datname = current_database()"
    )
    with workers(1, database_url=sample, redis_url=valkey.url, namespace=namespace_of(plan)) as pool:
        until(lambda: connection.execute(alive).fetchone() is not None, "a worker at the database")
        (member,) = pool._members
        pool.stop()
        assert member.process.returncode == 0


def test_a_batch_that_another_worker_is_at_does_not_cost_a_worker_the_rest_of_its_message(
    station: Station, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    first, last = _planned(plan_of(sample), sample, valkey.url)
    connection.execute("UPDATE tenantry.batches SET rings = 2")
    with connection.transaction():
        connection.execute("SELECT FROM tenantry.batches WHERE id = %s FOR UPDATE", [first])
        station.work(first, last)
    pending = connection.execute("SELECT id FROM tenantry.batches WHERE state = 'pending'").fetchall()
    assert pending == [(first,)]


def test_a_job_whose_triggers_a_worker_may_not_hold_off_stops_and_says_so_before_a_row_is_written(
    sample: str, connection: psycopg.Connection, postgres: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    plan = plan_of(sample, backfill={"user_triggers": "hold", "first_batch": 100, "paging": "pages"})
    batches = _planned(plan, sample, valkey.url)
    connection.execute("CREATE ROLE holds_nothing LOGIN")
    try:
        for schema in ("public", "tenantry"):
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO holds_nothing".encode())
            connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO holds_nothing".encode())
        url = postgres.url(connection.info.dbname, "holds_nothing")
        with station_of(url, valkey, "test", "holds_nothing") as station:
            station.work(*batches)
    finally:
        connection.execute("DROP OWNED BY holds_nothing; DROP ROLE holds_nothing")
    stopped = connection.execute("SELECT state, reason FROM tenantry.jobs").fetchall()
    denied = 'permission denied to set parameter "session_replication_role"'
    assert stopped == [("stopped", f"this role may not hold triggers off: {denied}")]
    assert _tenants(connection) == {""}


def test_a_connection_that_may_not_let_triggers_run_again_is_used_no_more(sample: str) -> None:
    """The right was taken away meanwhile: in the pool it would hold off the triggers of other tables."""
    with connect(sample, "test") as connection:
        with _Session(connection) as session:
            session.suit("on", one_by_one=False, hold=True)
            connection.execute("SET ROLE pg_monitor")
        assert connection.closed


def test_a_worker_keeps_the_statements_of_its_last_jobs_alone_however_many_it_has_had(
    station: Station, sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    first, last = _planned(plan_of(sample), sample, valkey.url)
    for _ in range(_JOBS_KEPT + 2):
        connection.execute("UPDATE tenantry.jobs SET started_at = clock_timestamp()")  # another job's
        connection.execute("UPDATE tenantry.batches SET state = 'pending' WHERE id = %s", [first])
        station.work(first, first)
    (started,) = connection.execute("SELECT started_at FROM tenantry.jobs").fetchone() or ()
    assert len(station._fillings) == _JOBS_KEPT
    assert [at for _, at in station._fillings][-1] == started
    station.work(first + 1, last)
    assert "" not in _tenants(connection)
