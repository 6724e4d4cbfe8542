"""What an operator is told of what is held: batches, rows set aside and jobs, and who is in the way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest
from psycopg_pool import ConnectionPool

from control import holds, status
from control.embedded.postgres import EmbeddedPostgres
from control.embedded.valkey import EmbeddedValkey
from control.holds import Waiting
from control.stage import Ground
from control.stages.backfill import jobs_of
from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, connect, parameters, session_options
from sql.postgres.ledger import JOBS, send
from tests.integration.backfilling import plan_of, prepared
from tests.integration.relay import relayed
from tests.waiting import until
from worker import batch as batches
from worker import jobs, ledger, paging
from worker.batch import Filling
from worker.broker import client
from worker.governor.pace import Governor
from worker.governor.shared import Shared
from worker.jobs import Batch, Job
from worker.slice import Station

_ROW = "entity-0000000007"


@dataclass(frozen=True)
class Bench:
    """A worker's connection, its job and the first batch of it, with no worker beside."""

    session: Connection
    ground: Ground
    job: Job
    batch: Batch

    def go(self) -> None:
        """Do what of the job is pending, as a worker does."""
        (first, last) = self.session.execute(
            "SELECT min(id), max(id) FROM tenantry.batches WHERE state = 'pending'"
        ).fetchone() or (0, 0)
        for batch in jobs.slice_of(self.session, first, last):
            batches.run(self.session, batch, Filling(self.job.table, self.job.spec))

    def waiting(self) -> list[Waiting]:
        """What waits."""
        return list(holds.waiting(self.session, self.ground.migration))


@pytest.fixture
def bench(sample: str, valkey: EmbeddedValkey) -> Iterator[Bench]:
    """The entities' job with one batch of 100 rows planned, and nobody at work."""
    with connect(sample, "test", lock_timeout_ms=100) as session:
        plan = plan_of(sample, backfill={"paging": "contiguous", "first_batch": 100})
        ground = prepared(plan, session, valkey.url)
        (job,) = jobs_of(ground, plan.table("graph_entities"), [ground.original.table("graph_entities")])
        never_in_the_way(session)
        (first, *_) = paging.plan_group(session, job, batch_rows=100)
        session.execute("DELETE FROM tenantry.batches WHERE id <> %s", [first])
        (batch,) = jobs.slice_of(session, first, first)
        yield Bench(session, ground, job, batch)
        assert ground.doorbell is not None
        ground.doorbell.client.close()


@contextmanager
def _shop(url: str) -> Iterator[psycopg.Connection]:
    """A session of the application that has a row and thinks."""
    with psycopg.connect(url, application_name="shop") as shop:
        shop.execute("SELECT FROM graph_entities WHERE id = %s FOR UPDATE", [_ROW])
        yield shop


def test_a_batch_whose_row_is_held_is_told_with_who_may_hold_it(bench: Bench, sample: str) -> None:
    with _shop(sample) as shop:
        bench.go()
        (waiting,) = bench.waiting()
        assert (waiting.table, waiting.sqlstate, waiting.batches) == ("graph_entities", "55P03", 1)
        assert waiting.meaning == "a lock was not free in time"
        assert waiting.next_try_at is not None
        (blocking,) = waiting.blocked_by
        session = blocking.session
        assert (session.pid, session.user, session.application) == (
            shop.info.backend_pid,
            "postgres",
            "shop",
        )
        assert session.age is not None
        assert "FOR UPDATE" in (session.query or "")
        assert (blocking.certain, waiting.hidden) == (False, None)
        shop.rollback()
    bench.go()
    assert bench.waiting() == []


def test_the_time_that_a_row_is_held_counts_from_the_first_batch_that_met_it(
    bench: Bench, sample: str
) -> None:
    with _shop(sample):
        bench.go()
        (first,) = bench.waiting()
        bench.go()
        (second,) = bench.waiting()
    rests = bench.session.execute("SELECT count(*) FROM tenantry.batches WHERE origin = 'rest'").fetchone()
    assert rests == (2,)
    assert second.since == first.since


def test_whom_a_worker_waits_for_is_told_as_certain_and_first(bench: Bench, sample: str) -> None:
    with (
        psycopg.connect(sample, application_name="report") as report,
        _shop(sample) as shop,
        connect(sample, "worker 1@test") as worker,
    ):
        report.execute("SELECT FROM graph_entities WHERE id <> %s LIMIT 1 FOR UPDATE", [_ROW])
        report.commit()
        report.execute("LOCK TABLE graph_entities IN ROW EXCLUSIVE MODE")  # older in the table than the shop
        bench.session.execute("UPDATE tenantry.batches SET attempts = 1, sqlstate = '55P03'")
        filling = Filling(bench.job.table, bench.job.spec)
        thread = threading.Thread(target=batches.run, args=(worker, bench.batch, filling))
        thread.start()

        def certain() -> list[bool]:
            (waiting,) = bench.waiting()
            seen = [blocking.certain for blocking in waiting.blocked_by]
            return seen if True in seen else []

        assert until(certain, "a worker that waits") == [True, False]
        (waiting,) = bench.waiting()
        assert [each.session.application for each in waiting.blocked_by] == ["shop", "report"]
        shop.rollback()
        thread.join()


def test_what_may_not_be_seen_of_a_blocker_is_told_with_the_right_that_is_missing(
    bench: Bench, sample: str, postgres: EmbeddedPostgres
) -> None:
    bench.session.execute("CREATE ROLE onlooker LOGIN; GRANT USAGE ON SCHEMA tenantry TO onlooker")
    bench.session.execute("GRANT SELECT ON ALL TABLES IN SCHEMA tenantry TO onlooker")
    try:
        with _shop(sample) as shop:
            bench.go()
            database, pid = shop.info.dbname, shop.info.backend_pid
            with connect(postgres.url(database, "onlooker"), "test") as onlooker:
                (waiting,) = holds.waiting(onlooker, bench.ground.migration)
        (blocking,) = waiting.blocked_by
        assert blocking.session.pid == pid
        assert (blocking.session.age, blocking.session.query) == (None, "<insufficient privilege>")
        assert waiting.hidden == "GRANT pg_read_all_stats TO onlooker"
    finally:
        bench.session.execute("DROP OWNED BY onlooker; DROP ROLE onlooker")


def test_a_lock_on_the_whole_table_is_told_too(bench: Bench, sample: str) -> None:
    with psycopg.connect(sample, application_name="vandal") as vandal:
        vandal.execute("LOCK TABLE graph_entities IN ACCESS EXCLUSIVE MODE")
        bench.go()
        (waiting,) = bench.waiting()
    assert waiting.error == "canceling statement due to lock timeout"
    assert [each.session.application for each in waiting.blocked_by] == ["vandal"]


def test_who_only_reads_or_vacuums_is_not_taken_for_a_blocker(bench: Bench, sample: str) -> None:
    with (
        _shop(sample),
        psycopg.connect(sample, application_name="reader") as reader,
        psycopg.connect(sample, application_name="vacuum") as vacuum,
    ):
        reader.execute("SELECT FROM graph_entities")
        vacuum.execute("LOCK TABLE graph_entities IN SHARE UPDATE EXCLUSIVE MODE")
        bench.go()
        (waiting,) = bench.waiting()
    assert [each.session.application for each in waiting.blocked_by] == ["shop"]


def test_of_many_in_the_table_the_oldest_transactions_are_told(bench: Bench, sample: str) -> None:
    with _shop(sample):
        for _ in range(2):
            bench.go()
        others = [psycopg.connect(sample, application_name=f"later {n}") for n in range(4)]
        for other in others:
            other.execute("LOCK TABLE graph_entities IN ROW EXCLUSIVE MODE")
        (waiting,) = bench.waiting()
        for other in others:
            other.close()
    assert [each.session.application for each in waiting.blocked_by] == ["shop", "later 0", "later 1"]


def test_rows_set_aside_are_told_by_their_key_and_counted_beyond_the_first(bench: Bench) -> None:
    for key in ("one", "two", "three"):
        bench.session.execute(
            "INSERT INTO tenantry.quarantine (job_id, key, sqlstate, message) VALUES (%s, %s, '23514', 'no')",
            [bench.job.id, [key]],
        )
    found = holds.read(bench.session, bench.ground.migration, most=2)
    assert [row.key for row in found.rows] == [{"id": "one"}, {"id": "two"}]
    assert found.more == 1
    assert (found.rows[0].table, found.rows[0].meaning) == ("graph_entities", "check violation")


def test_a_row_without_a_key_is_told_by_its_place(bench: Bench) -> None:
    bench.session.execute("UPDATE tenantry.jobs SET spec = jsonb_set(spec, '{key}', '[]')")
    bench.session.execute(
        "INSERT INTO tenantry.quarantine (job_id, key, sqlstate, message) "
        "VALUES (%s, '{\"(7,1)\"}', '', 'its source gives it no tenant')",
        [bench.job.id],
    )
    (row,) = holds.read(bench.session, bench.ground.migration, most=2).rows
    assert (row.key, row.meaning) == ({"ctid": "(7,1)"}, "")


def test_the_parts_of_a_table_are_summed_and_listed(bench: Bench) -> None:
    second = '"public"."graph_entities_2"'
    jobs.add(
        bench.session,
        bench.ground.migration,
        table="graph_entities",
        part=second,
        spec=bench.job.spec.model_copy(update={"table": "graph_entities_2"}),
        last_key=None,
        batch_rows=100,
        rows_total=500,
        why="a test",
        state="complete",
    )
    bench.go()
    table = status.read(bench.session, bench.ground.plan.name).tables[0]
    assert (table.state, table.rows_done) == ("running", 100)
    assert table.rows_total == bench.job.rows_total + 500
    assert table.batches == {"pending": 0, "done": 1, "split": 0, "quarantined": 0}
    assert [(part.name, part.state) for part in table.parts] == [
        (bench.job.part, "running"),
        (second, "complete"),
    ]
    send(bench.session, JOBS.set_state, job=bench.job.id, state="complete", reason=None)
    assert status.read(bench.session, bench.ground.plan.name).tables[0].state == "complete"


def test_a_table_of_one_part_tells_its_batches_size_its_paging_and_its_updates_in_their_page(
    bench: Bench,
) -> None:
    # As if of a hundred updates since the job began seventy-five had stayed in their page.
    before = {"updated": -100, "heap_only": -75}
    ledger.Memory(bench.session, bench.ground.migration).remember(f"updates of {bench.job.part}", before)
    table = status.read(bench.session, bench.ground.plan.name).tables[0]
    assert (table.paging, table.batch_rows, table.parts) == ("contiguous", 100, ())
    assert table.heap_only_share == 0.75


def test_a_batch_whose_connection_was_cut_waits_and_says_so(
    bench: Bench, sample: str, valkey: EmbeddedValkey
) -> None:
    in_it = (
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'tenantry worker cut' "
        "AND state = 'active' AND query LIKE '%batch.fill%' AND datname = current_database()"
    )
    with (
        relayed(sample) as relay,
        _shop(sample) as shop,
        ConnectionPool(
            kwargs={"autocommit": True, **parameters(relay.url, "worker cut", session_options())},
            connection_class=Connection,
            check=ConnectionPool.check_connection,
            min_size=1,
            max_size=2,
            open=True,
        ) as pool,
        client(valkey.url) as queue,
    ):
        station = Station(pool, Governor(Shared(queue, "cut"), pool, "test"), threading.Event())
        work = threading.Thread(target=station.work, args=(bench.batch.id, bench.batch.id))
        work.start()
        (pid,) = until(lambda: bench.session.execute(in_it).fetchone(), "a worker in its batch") or (0,)
        relay.cut()
        # The server finds out only when it answers: it would commit, and the batch be done after all.
        bench.session.execute("SELECT pg_terminate_backend(%s)", [pid])
        work.join()
        shop.rollback()
    (waiting,) = bench.waiting()
    assert (waiting.sqlstate, waiting.meaning) == ("08006", "the connection was lost")
