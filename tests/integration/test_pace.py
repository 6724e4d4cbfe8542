"""One pace for all workers, on a real queue server and with real workers; and what holds them."""

import threading
from itertools import count
from pathlib import Path

import psycopg
import pytest

from control import status
from control.embedded.valkey import EmbeddedValkey
from control.queue import namespace_of
from control.stages import backfill
from sql.postgres.connection import Connection, connect
from tests.integration.backfilling import backfilling, count_updates, plan_of, updates_per_row
from tests.integration.queue_server import address_of, queue_server
from tests.integration.stationed import (
    BY_QUERY,
    GO,
    HOLD,
    OPEN,
    advances_of,
    grounded,
    namespaces,
    planned,
    station_of,
    tell,
    working,
)
from tests.waiting import until
from worker import ledger
from worker.broker import client
from worker.governor import pace
from worker.governor.limits import Limit, SignalName
from worker.governor.pace import Go, Hold, Taken
from worker.governor.shared import Shared
from worker.ledger import Settings

# -- the rate


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_rate_holds_with_so_many_workers_and_none_of_them_pays_for_another(
    valkey: EmbeddedValkey, workers: int
) -> None:
    """Each asks as fast as it can, its batches of other sizes than the last; by the server's own clock."""
    namespace, rate, most = f"rate {next(namespaces)}", 20_000.0, 500
    done: list[int] = []
    over = threading.Event()

    def work(number: int) -> None:
        with client(valkey.url) as queue:
            shared = Shared(queue, namespace)
            for turn in count():
                if over.is_set():
                    return
                if shared.ask(f"w{number}", None, sampling=False, rate=rate).wait == 0:
                    rows = most - (turn * 37 + number) % 200
                    shared.settle(f"w{number}", rows)
                    done.append(rows)

    with client(valkey.url) as queue:
        shared = Shared(queue, namespace)
        begun = shared.ask("clock", None, sampling=False, rate=None).now
        threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
        for thread in threads:
            thread.start()
        until(lambda: sum(done) > rate, "a second's worth of rows")
        over.set()
        for thread in threads:
            thread.join()
        elapsed = shared.ask("clock", None, sampling=False, rate=None).now - begun
    assert sum(done) <= rate * (elapsed + 0.25) + most


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_rate_of_the_plan_holds_with_real_workers(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, workers: int
) -> None:
    plan = plan_of(sample, governor={"rows_per_second": 3_000})
    with backfilling(plan, valkey.url, workers) as run:
        run.end()
    rows, seconds, most = connection.execute(
        "SELECT sum(rows)::float8, extract(epoch FROM max(finished_at) - min(rung_at))::float8, max(rows) "
        "FROM tenantry.batches"
    ).fetchone() or (0, 0, 0)
    assert rows == 6_000
    assert rows <= 3_000 * (seconds + 0.25) + most


def test_a_killed_worker_s_share_is_the_others_again(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection, seconds_per_row=0.002)
    plan = plan_of(sample, governor={"rows_per_second": 2_000, "max_batch": "none"})
    with backfilling(plan, valkey.url, 2) as run:
        shared = Shared(run.queue, namespace_of(plan))
        run.reach("graph_entities", 0.1)
        run.kill_a_worker_in_its_batch()
        advances = advances_of(shared)
        run.end()
        alive = {
            name
            for (name,) in connection.execute(
                "SELECT DISTINCT split_part(application_name, ' ', 3) FROM pg_stat_activity "
                "WHERE application_name LIKE 'tenantry worker %' AND datname = current_database()"
            )
        }
        assert advances - alive

        def left() -> set[str]:
            shared.ask("test", None, sampling=False, rate=2_000.0)
            return advances_of(shared)

        until(lambda: not (advances - alive) & left(), "the killed worker's advance to go back")
    assert all(row[2:] == (1, 1) for row in updates_per_row(connection))


def test_a_flush_of_the_queue_server_in_the_middle_costs_neither_the_rate_nor_the_run(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection)
    plan = plan_of(sample, governor={"rows_per_second": 2_500})
    with backfilling(plan, valkey.url, 2) as run:
        for share in (0.2, 0.5, 0.8):
            run.reach("graph_entities", share)
            run.queue.flushall()
        run.end()
    (seconds,) = connection.execute(
        "SELECT extract(epoch FROM max(finished_at) - min(rung_at))::float8 FROM tenantry.batches"
    ).fetchone() or (0,)
    # Each flush forgets a debt of two batches at most, and fills the bucket anew.
    assert 2_500 * (seconds + 0.25 * 4) + 100 * 2 * 4 >= 6_000
    assert all(row[2:] == (1, 1) for row in updates_per_row(connection))


def test_a_limit_in_wal_is_paid_for_in_rows_with_nothing_throttled_too(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    settings = Settings(
        target=0.1, synchronous_commit="on", throttle=False, limits={}, wal_per_second=1_000_000
    )
    connection.execute("CREATE TABLE public.ballast (filler text)")
    with (
        grounded(sample, valkey),
        station_of(sample, valkey, "wal", f"wal {next(namespaces)}") as station,
    ):
        governor = station.governor
        governor.ask(settings)
        assert governor.taken is not None
        governor.paid(settings, 1_000)
        connection.execute("INSERT INTO ballast SELECT repeat('x', 1000) FROM generate_series(1, 5000)")
        governor.taken = None

        def taken() -> Taken | None:
            governor.ask(settings)
            return governor.taken

        sampled = until(taken, "the next sample")
        assert sampled is not None
        cost = sampled.posted.cost.bytes_per_row
        assert cost > 5_000
        governor.paid(settings, 100_000)  # more than a slow machine's time until here pays for
        answer = governor.ask(settings)
    assert governor._rate(settings) == pytest.approx(1_000_000 / cost)
    assert getattr(answer, "reason", "").startswith("rate limit: ")


def test_a_row_made_dear_by_the_applications_wal_is_cheap_again_once_that_has_ended(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    settings = Settings(
        target=0.1, synchronous_commit="on", throttle=False, limits={}, wal_per_second=1_000_000
    )
    with (
        grounded(sample, valkey),
        station_of(sample, valkey, "dear", f"dear {next(namespaces)}") as station,
    ):
        governor = station.governor

        def cost() -> float:
            governor.ask(settings)
            assert governor._posted is not None
            return governor._posted.cost.bytes_per_row

        cost()
        governor.paid(settings, 1_000)
        connection.execute("SELECT pg_logical_emit_message(true, 'application', repeat('x', 20000000))")
        until(lambda: cost() > 10_000, "a row to be dear")
        until(lambda: cost() < 2_000, "a row to be cheap")


# -- what is held, and what is not


def test_time_held_is_no_attempt_no_loss_and_no_ring_however_long(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The controller looks fifty times a second, and takes every batch for lost after a tenth of one."""
    for name, seconds in (("RING_AGAIN", 0.02), ("RING_LOST", 0.1), ("CARE_EVERY", 0.02)):
        monkeypatch.setattr(backfill, name, seconds)
    looks: list[bool] = []
    looked = ledger.everybody_holds

    def watched(session: Connection, migration: int) -> bool:
        looks.append(looked(session, migration))
        return looks[-1]

    monkeypatch.setattr(ledger, "everybody_holds", watched)
    count_updates(connection)
    connection.execute(OPEN)
    connection.execute(HOLD)
    plan = plan_of(sample, governor=BY_QUERY)
    with backfilling(plan, valkey.url, 2) as run:
        until(lambda: looks[-3:] == [True] * 3, "both workers to hold")
        before = connection.execute("SELECT sum(rings) FROM tenantry.batches").fetchone()
        queued = run.queue.llen(f"{namespace_of(plan)}:queue:batches")
        until(lambda: len(looks) > 100, "a hundred looks while held")
        assert connection.execute("SELECT sum(rings) FROM tenantry.batches").fetchone() == before
        assert run.queue.llen(f"{namespace_of(plan)}:queue:batches") == queued
        with connect(sample, "test") as session:
            shown = status.read(session, plan.name)
        assert (shown.held or "").startswith("the plan's own query: 10, stop at 10")
        assert shown.workers_holding == 2
        monkeypatch.setattr(backfill, "RING_LOST", 60.0)
        connection.execute(GO)
        run.end()
    told = connection.execute(
        "SELECT max(lost), max(attempts), count(*) FILTER (WHERE state <> 'done') FROM tenantry.batches"
    ).fetchone()
    assert told == (0, 0, 0)
    assert all(row[2:] == (1, 1) for row in updates_per_row(connection))
    (held,) = connection.execute("SELECT max(held_seconds) FROM tenantry.jobs").fetchone() or (0,)
    assert held > 0


def test_a_worker_that_goes_on_takes_no_other_s_reason_back(sample: str, valkey: EmbeddedValkey) -> None:
    with (
        grounded(sample, valkey) as (ground, session),
        connect(sample, "worker a") as a,
        connect(sample, "worker b") as b,
    ):
        ledger.set_held(a, ground.migration, "a", "seconds of a batch: 2")
        ledger.set_held(b, ground.migration, "b", "replica lag in seconds: 9")
        ledger.set_held(b, ground.migration, "b", None)
        shown = status.read(session, ground.plan.name)
        assert (shown.held, shown.workers_holding) == ("seconds of a batch: 2", 1)
        ledger.set_held(a, ground.migration, "a", None)
        shown = status.read(session, ground.plan.name)
        assert (shown.held, shown.workers_holding) == (None, 0)


def test_a_worker_held_by_its_own_slow_batches_goes_on_by_itself(
    sample: str, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_RECENT", 1.0)
    limits: dict[SignalName, Limit] = {"batch": Limit(max=0.1, stop=0.5)}
    settings = Settings(target=0.1, synchronous_commit="on", throttle=True, limits=limits)
    with (
        grounded(sample, valkey),
        station_of(sample, valkey, "slow", f"slow {next(namespaces)}") as station,
    ):
        assert isinstance(station.governor.ask(settings), Go)
        station.governor.ran(0.8)
        answer = station.governor.ask(settings)
        assert isinstance(answer, Hold)
        assert answer.reason == "seconds of a batch: 0.8 (this worker's own), stop at 0.5"
        until(lambda: isinstance(station.governor.ask(settings), Go), "the slow batch to be forgotten")


def test_outside_its_hours_a_worker_holds_with_the_next_opening_and_goes_once_told_other_hours(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    (hour,) = connection.execute(
        "SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::integer"
    ).fetchone() or (0,)
    later = f"{(hour + 2) % 24:02}:00-{(hour + 2) % 24:02}:30 UTC"
    with (
        grounded(sample, valkey, backfill={"active": later, "first_batch": 100, "paging": "pages"}) as (
            ground,
            session,
        ),
        station_of(sample, valkey, "night", f"night {next(namespaces)}") as station,
    ):
        batches = planned(ground, session)
        with working(station, batches) as thread:
            held = until(lambda: status.read(session, ground.plan.name).held, "a hold") or ""
            assert held.startswith("outside the hours of the plan: they open ")
            assert held.endswith(f"{(hour + 2) % 24:02}:00 UTC")
            assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (None,)
            tell(session, ground, active=("00:00-24:00 UTC",))
            thread.join(60)
        assert status.read(session, ground.plan.name).held is None
        assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (2_000,)


def test_a_worker_told_to_stop_while_held_leaves_no_reason_behind(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(OPEN)
    connection.execute(HOLD)
    with (
        grounded(sample, valkey, governor=BY_QUERY) as (ground, session),
        station_of(sample, valkey, "stopped", f"stopped {next(namespaces)}") as station,
    ):
        with working(station, planned(ground, session)):
            until(lambda: ledger.holding(session, ground.migration), "a hold")
        assert ledger.holding(session, ground.migration) == []


def test_a_queue_server_that_is_gone_holds_a_worker_in_the_middle_which_goes_on_once_it_is_back(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    socket = tmp_path / "valkey.sock"
    count_updates(connection, seconds_per_row=0.001)
    with (
        grounded(sample, valkey, governor={"rows_per_second": 5_000}) as (ground, session),
        queue_server(socket) as own,
        station_of(sample, valkey, "alone", f"alone {next(namespaces)}") as station,
        client(address_of(socket)) as queue,
    ):
        station.governor.shared = Shared(queue, "alone")
        with working(station, planned(ground, session)) as thread:
            some = "SELECT FROM tenantry.batches WHERE state = 'done' LIMIT 1"
            until(lambda: connection.execute(some).fetchone() is not None, "a batch")
            own.kill()
            own.wait()
            held = until(lambda: status.read(session, ground.plan.name).held, "a hold")
            assert held == "the queue server does not answer: ConnectionError"
            with queue_server(socket):
                thread.join(60)
        assert status.read(session, ground.plan.name).held is None
    assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (2_000,)
    assert all(row[2:] == (1, 1) for row in updates_per_row(connection))
