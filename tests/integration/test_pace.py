"""One pace for all workers, on a real queue server and with real workers; and what an operator sees of it."""

import io
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import redis
from psycopg_pool import ConnectionPool
from rich.console import Console
from structlog.testing import capture_logs

from control import conductor, exporter, status
from control.embedded.valkey import EmbeddedValkey, _program
from control.queue import namespace_of
from control.render import View, render
from control.stage import Ground
from control.stages import backfill
from control.stages.backfill import jobs_of
from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, connect, parameters, session_options
from tests.integration.backfilling import backfilling, count_updates, plan_of, prepared, updates_per_row
from tests.waiting import until
from worker import ledger, paging
from worker.broker import client
from worker.governor import pace
from worker.governor import shared as shared_state
from worker.governor.limits import LABELS, Limit, Sample, SignalName
from worker.governor.pace import Go, Governor, Hold, Taken
from worker.governor.shared import Shared
from worker.governor.zones import Zone
from worker.ledger import Settings
from worker.slice import Station

_namespaces = count(1)
_OPEN = "CREATE TABLE public.knob AS SELECT 0 AS n"
_HOLD = "UPDATE public.knob SET n = 10"
_GO = "UPDATE public.knob SET n = 0"
_BY_QUERY = {
    "max_query": 5,
    "stop_query": 10,
    "query": "SELECT n FROM public.knob",
    "max_waited": "none",
    "stop_waited": "none",
}


@contextmanager
def _station(url: str, valkey: EmbeddedValkey, name: str, namespace: str) -> Iterator[Station]:
    options = session_options(lock_timeout_ms=100, statement_timeout_ms=800)
    with (
        ConnectionPool(
            kwargs={"autocommit": True, **parameters(url, f"worker {name}", options)},
            connection_class=Connection,
            configure=never_in_the_way,
            min_size=1,
            max_size=2,
            open=True,
        ) as pool,
        client(valkey.url) as queue,
    ):
        yield Station(pool, Governor(Shared(queue, namespace), pool, name), threading.Event())


@contextmanager
def _grounded(url: str, valkey: EmbeddedValkey, **changes: Any) -> Iterator[tuple[Ground, Connection]]:
    with connect(url, "test") as session:
        ground = prepared(plan_of(url, **changes), session, valkey.url)
        assert ground.doorbell is not None
        ground.doorbell.client.close()
        yield ground, session


def _planned(ground: Ground, session: Connection) -> tuple[int, int]:
    """The first and the last batch of the entities."""
    table = ground.plan.table("graph_entities")
    (job,) = jobs_of(ground, table, [ground.original.table("graph_entities")])
    ids: list[int] = []
    while not (job := ledger.job(session, job.id)).planned:
        ids += paging.plan_group(session, job, batch_rows=100)
    return ids[0], ids[-1]


def _tell(session: Connection, ground: Ground, **settings: object) -> None:
    """Tell workers other settings, as tuning does."""
    told = ledger.read(session, ground.plan.name).settings.model_copy(update=settings)
    ledger.tune(session, ground.migration, {}, told)


def _advances(shared: Shared) -> set[str]:
    """The workers that have paid for a batch under way."""
    keys = shared.client.hkeys(f"{shared.namespace}:governor:advances")
    return {key.decode() if isinstance(key, bytes) else key for key in keys}


@contextmanager
def _working(station: Station, batches: tuple[int, int]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=station.work, args=batches)
    thread.start()
    try:
        yield thread
    finally:
        station.stopping.set()
        thread.join(60)


# -- the rate


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_a_rate_holds_with_so_many_workers_and_none_of_them_pays_for_another(
    valkey: EmbeddedValkey, workers: int
) -> None:
    """Each asks as fast as it can, its batches of other sizes than the last; by the server's own clock."""
    namespace, rate, most = f"rate {next(_namespaces)}", 20_000.0, 500
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
        until(lambda: sum(done) > rate, 60, "a second's worth of rows")
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
        advances = _advances(shared)
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
            return _advances(shared)

        until(lambda: not (advances - alive) & left(), 20, "the killed worker's advance to go back")
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
        _grounded(sample, valkey),
        _station(sample, valkey, "wal", f"wal {next(_namespaces)}") as station,
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

        sampled = until(taken, 20, "the next sample")
        assert sampled is not None
        cost = sampled.posted.cost.bytes_per_row
        assert cost > 5_000
        answer = governor.ask(settings)
    assert governor._rate(settings) == pytest.approx(1_000_000 / cost)
    assert getattr(answer, "reason", "").startswith("rate limit: ")


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
    connection.execute(_OPEN)
    connection.execute(_HOLD)
    plan = plan_of(sample, governor=_BY_QUERY)
    with backfilling(plan, valkey.url, 2) as run:
        until(lambda: looks[-3:] == [True] * 3, 60, "both workers to hold")
        before = connection.execute("SELECT sum(rings) FROM tenantry.batches").fetchone()
        queued = run.queue.llen(f"{namespace_of(plan)}:queue:batches")
        until(lambda: len(looks) > 100, 60, "a hundred looks while held")
        assert connection.execute("SELECT sum(rings) FROM tenantry.batches").fetchone() == before
        assert run.queue.llen(f"{namespace_of(plan)}:queue:batches") == queued
        with connect(sample, "test") as session:
            shown = status.read(session, plan.name)
        assert (shown.held or "").startswith("the plan's own query: 10, stop at 10")
        assert shown.workers_holding == 2
        monkeypatch.setattr(backfill, "RING_LOST", 60.0)
        connection.execute(_GO)
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
        _grounded(sample, valkey) as (ground, session),
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
        _grounded(sample, valkey),
        _station(sample, valkey, "slow", f"slow {next(_namespaces)}") as station,
    ):
        assert isinstance(station.governor.ask(settings), Go)
        station.governor.ran(0.8)
        answer = station.governor.ask(settings)
        assert isinstance(answer, Hold)
        assert answer.reason == "seconds of a batch: 0.8 (this worker's own), stop at 0.5"
        until(lambda: isinstance(station.governor.ask(settings), Go), 20, "the slow batch to be forgotten")


def test_outside_its_hours_a_worker_holds_with_the_next_opening_and_goes_once_told_other_hours(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    (hour,) = connection.execute(
        "SELECT extract(hour FROM now() AT TIME ZONE 'UTC')::integer"
    ).fetchone() or (0,)
    later = f"{(hour + 2) % 24:02}:00-{(hour + 2) % 24:02}:30 UTC"
    with (
        _grounded(sample, valkey, backfill={"active": later, "first_batch": 100, "paging": "pages"}) as (
            ground,
            session,
        ),
        _station(sample, valkey, "night", f"night {next(_namespaces)}") as station,
    ):
        batches = _planned(ground, session)
        with _working(station, batches) as thread:
            held = until(lambda: status.read(session, ground.plan.name).held, 20, "a hold") or ""
            assert held.startswith("outside the hours of the plan: they open ")
            assert held.endswith(f"{(hour + 2) % 24:02}:00 UTC")
            assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (None,)
            _tell(session, ground, active=("00:00-24:00 UTC",))
            thread.join(60)
        assert status.read(session, ground.plan.name).held is None
        assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (2_000,)


def test_a_worker_told_to_stop_while_held_leaves_no_reason_behind(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(_OPEN)
    connection.execute(_HOLD)
    with (
        _grounded(sample, valkey, governor=_BY_QUERY) as (ground, session),
        _station(sample, valkey, "stopped", f"stopped {next(_namespaces)}") as station,
    ):
        with _working(station, _planned(ground, session)):
            until(lambda: ledger.holding(session, ground.migration), 20, "a hold")
        assert ledger.holding(session, ground.migration) == []


# -- what is said


def test_what_can_not_be_read_is_said_once_by_whoever_sees_it_first(
    sample: str, valkey: EmbeddedValkey
) -> None:
    governor = {"max_query": 5, "query": "SELECT 1 / 0"}
    with (
        _grounded(sample, valkey, governor=governor) as (ground, session),
        _station(sample, valkey, "a", f"blind {next(_namespaces)}") as a,
        _station(sample, valkey, "b", f"blind {next(_namespaces)}") as b,
        capture_logs() as logs,
    ):
        first, last = _planned(ground, session)
        middle = (first + last) // 2
        a.work(first, middle)
        b.work(middle + 1, last)
        said = [event for event in ledger.events(session, ground.migration) if event["kind"] == "unreadable"]
        shown = status.read(session, ground.plan.name)
    assert [event["message"] for event in said] == [
        "the plan's own query: can't be read, division by zero; it is not judged"
    ]
    assert [line["signal"] for line in logs if line["event"] == "a signal can't be read"] == ["query"]
    assert shown.governor is not None
    assert [(each.signal, each.unreadable) for each in shown.governor.unreadable] == [
        ("query", "division by zero")
    ]
    view = Console(file=io.StringIO(), width=150)
    view.print(render(View(shown, datetime.now(UTC))))
    assert "can't be read: the plan's own query (division by zero)" in view.file.getvalue()  # type: ignore[attr-defined]


def test_the_log_tells_a_change_of_the_pace_and_not_each_sample(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 0.01)
    connection.execute(_OPEN)
    connection.execute("UPDATE knob SET n = 5")
    settings = conductor.settings_of(plan_of(sample, governor=_BY_QUERY), throttle=True).model_copy(
        update={"limits": {"query": Limit(max=5, stop=10)}}
    )
    with (
        _grounded(sample, valkey),
        _station(sample, valkey, "log", f"log {next(_namespaces)}") as station,
        capture_logs() as logs,
    ):
        samples: set[float] = set()

        def sampled() -> bool:
            station.governor.ask(settings)
            if station.governor.taken is not None:
                samples.add(station.governor.taken.posted.at)
            return len(samples) > 5

        until(sampled, 20, "some samples")
        connection.execute(_GO)
        until(lambda: isinstance(station.governor.ask(settings), Go) and _calm(station), 20, "calm again")
    zones = [line["zone"] for line in logs if line["event"] == "pace"]
    assert zones == ["halve", "shed", "keep", "grow"]


def _calm(station: Station) -> bool:
    return station.governor.taken is not None and station.governor.taken.posted.zone is Zone.GROW


def test_status_and_metrics_show_the_pace_and_every_signal_without_the_queue_server(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    connection.execute(_OPEN)
    connection.execute("UPDATE knob SET n = 7")
    with (
        _grounded(sample, valkey, governor=_BY_QUERY) as (ground, session),
        _station(sample, valkey, "shown", f"shown {next(_namespaces)}") as station,
    ):
        first, _ = _planned(ground, session)
        station.work(first, first)
        shown = status.read(session, ground.plan.name)
    assert shown.governor is not None
    assert (shown.governor.zone, shown.governor.share) == (Zone.HALVE, 0.5)
    assert shown.governor.reason == "the plan's own query: 7, limit 5"
    assert {signal.signal for signal in shown.governor.signals} == set(LABELS)
    view = Console(file=io.StringIO(), width=150)
    view.print(render(View(shown, datetime.now(UTC))))
    told = view.file.getvalue()  # type: ignore[attr-defined]
    assert "pace 50% of full speed, halve, sampled" in told
    assert "ago: the plan's own query: 7, limit 5" in told
    series = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in exporter.metrics(shown)
        for sample in metric.samples
        if sample.name.startswith("tenantry_governor_")
    }
    name = ground.plan.name
    assert series["tenantry_governor_share", name] == 0.5
    assert series["tenantry_governor_zone", name, "halve"] == 1
    assert series["tenantry_governor_zone", name, "grow"] == 0
    assert series["tenantry_governor_signal", name, "query"] == 7
    assert series["tenantry_governor_limit", name, "query"] == 5
    assert series["tenantry_governor_stop", name, "query"] == 10
    assert series["tenantry_governor_limit", name, "lag"] == 1.5
    assert series["tenantry_governor_sample_age_seconds", name] >= 0


def test_an_older_ledger_shows_no_pace_and_has_one_after_its_next_run(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _grounded(sample, valkey) as (ground, session):
        _planned(ground, session)
        connection.execute("DROP TABLE tenantry.governor")
        connection.execute("DROP INDEX tenantry.events_unreadable")
        connection.execute("ALTER TABLE tenantry.jobs DROP COLUMN held_seconds")
        shown = status.read(session, ground.plan.name)
        assert (shown.governor, shown.tables[0].state) == (None, "running")
        for _ in range(2):
            ledger.bring_along(session)
        ledger.show_governor(
            session, ground.migration, zone="keep", share=0.5, reason="", sample=Sample(values={"lag": 1.0})
        )
        shown = status.read(session, ground.plan.name)
        assert shown.governor is not None
        assert shown.governor.share == 0.5


def test_time_held_is_no_time_of_the_estimate(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    with _grounded(sample, valkey) as (ground, session):
        _planned(ground, session)
        connection.execute(
            "UPDATE tenantry.batches SET state = 'done', rows = 100, finished_at = now() "
            "WHERE id IN (SELECT id FROM tenantry.batches ORDER BY id LIMIT 10)"
        )
        connection.execute(
            "UPDATE tenantry.jobs SET started_at = now() - interval '1 hour', held_seconds = 3500"
        )
        (table, _) = status.read(session, ground.plan.name).tables
    assert table.eta_seconds is not None
    assert table.eta_seconds < 150


def test_a_queue_server_that_is_gone_holds_a_worker_in_the_middle_which_goes_on_once_it_is_back(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    socket = tmp_path / "valkey.sock"
    count_updates(connection, seconds_per_row=0.001)
    with (
        _grounded(sample, valkey, governor={"rows_per_second": 5_000}) as (ground, session),
        _queue_server(socket) as own,
        _station(sample, valkey, "alone", f"alone {next(_namespaces)}") as station,
        client(f"unix://{quote(str(socket))}") as queue,
    ):
        station.governor.shared = Shared(queue, "alone")
        with _working(station, _planned(ground, session)) as thread:
            some = "SELECT FROM tenantry.batches WHERE state = 'done' LIMIT 1"
            until(lambda: connection.execute(some).fetchone() is not None, 20, "a batch")
            own.kill()
            own.wait()
            held = until(lambda: status.read(session, ground.plan.name).held, 30, "a hold")
            assert held == "the queue server does not answer: ConnectionError"
            with _queue_server(socket):
                thread.join(60)
        assert status.read(session, ground.plan.name).held is None
    assert connection.execute("SELECT sum(rows) FROM tenantry.batches").fetchone() == (2_000,)
    assert all(row[2:] == (1, 1) for row in updates_per_row(connection))


@contextmanager
def _queue_server(socket: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Valkey at an address of our own, where another can take its place."""
    arguments = [str(_program()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, cwd=socket.parent)
    try:
        until(lambda: _answers(socket), 20, "a queue server")
        yield process
    finally:
        process.kill()
        process.wait()


def _answers(socket: Path) -> bool:
    with redis.Redis.from_url(f"unix://{quote(str(socket))}") as probe:
        try:
            return bool(probe.ping())
        except redis.ConnectionError:
            return False
