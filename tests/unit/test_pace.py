"""What a worker is answered before a batch, on a Redis that is a fake."""

from typing import TYPE_CHECKING, cast

import fakeredis
import pytest
from psycopg_pool import ConnectionPool

from tests.unit.governing import CALM, LIMITS, settings_of
from tests.waiting import until
from worker.governor import pace
from worker.governor import shared as shared_state
from worker.governor.cost import Cost
from worker.governor.history import History
from worker.governor.limits import Limit, Sample
from worker.governor.pace import STALE_AFTER, Go, Governor, Hold, Rest
from worker.governor.shared import Posted, Shared

if TYPE_CHECKING:
    from sql.postgres.connection import Pool


class _NoPool:
    """The connections of a worker that has nothing to sample."""


def _governor(shared: Shared) -> Governor:
    return Governor(shared, cast("Pool", _NoPool()), "a")


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


def test_with_nothing_to_throttle_no_rate_and_no_hours_the_queue_server_is_not_even_asked(
    server: fakeredis.FakeServer,
) -> None:
    server.connected = False
    with fakeredis.FakeRedis(server=server) as client:
        governor, settings = _governor(Shared(client, "test")), settings_of(throttle=False)
        governor.paid(settings, 100)
        assert isinstance(governor.ask(settings), Go)


@pytest.mark.parametrize(
    "wanted",
    [
        {"throttle": True},
        {"rows_per_second": 1_000},
        {"wal_per_second": 1_000},
        {"active": ["00:00-24:00 UTC"]},
    ],
)
def test_a_queue_server_that_is_gone_holds_whatever_is_wanted_of_it(
    server: fakeredis.FakeServer, wanted: dict[str, object]
) -> None:
    server.connected = False
    with fakeredis.FakeRedis(server=server) as client:
        answer = _governor(Shared(client, "test")).ask(settings_of(**{"throttle": False} | wanted))
    assert isinstance(answer, Hold)
    assert answer.reason == "the queue server does not answer: ConnectionError"


def test_a_queue_server_that_is_back_lets_batches_go_on(server: fakeredis.FakeServer) -> None:
    with fakeredis.FakeRedis(server=server) as client:
        governor = _governor(Shared(client, "test"))
        settings = settings_of(throttle=False, rows_per_second=1_000)
        assert isinstance(governor.ask(settings), Go)
        server.connected = False
        governor.paid(settings, 100)
        assert isinstance(governor.ask(settings), Hold)
        server.connected = True
        assert isinstance(governor.ask(settings), Go)


def test_a_sample_that_grew_old_holds_until_there_is_another(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=CALM, share=1.0, at=now - STALE_AFTER - 1), History())
    answer = governor.ask(settings_of())
    assert isinstance(answer, Hold)
    assert answer.reason == "the last sample of the database's health is old: over 15 s"
    shared.post(Posted(sample=CALM, share=1.0, at=now), History())
    assert isinstance(governor.ask(settings_of()), Go)


@pytest.mark.timeout(10)
def test_a_look_that_takes_longer_than_a_turn_lasts_keeps_no_worker_from_its_answer(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_state, "SAMPLE_EVERY", 1e-9)
    out_of_reach: Pool = ConnectionPool(open=False)
    answer = Governor(shared, out_of_reach, "a").ask(settings_of())
    assert isinstance(answer, Hold)
    assert answer.reason.startswith("no sample of the database's health yet: the pool")


def test_a_sample_from_the_time_to_come_holds(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    shared.post(Posted(sample=CALM, share=1.0, at=now + 3600), History())
    assert isinstance(_governor(shared).ask(settings_of()), Hold)


def test_limits_that_are_told_anew_are_judged_with_the_sample_that_is_there(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 4.0}), share=1.0, at=now), History())
    assert isinstance(governor.ask(settings_of()), Go)
    assert isinstance(governor.ask(settings_of(limits={"lag": Limit(max=1.0, stop=4.0)})), Hold)


def test_below_full_speed_a_worker_rests_between_its_batches_and_says_what_for(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 1.2}), share=0.25, at=now), History())
    assert isinstance(governor.ask(settings_of()), Go)
    governor.ran(100.0)
    answer = governor.ask(settings_of())
    assert isinstance(answer, Rest)
    assert 290 < answer.seconds <= 300
    assert answer.reason == "replica lag in seconds: 1.2, limit 1.5"


def test_a_rest_is_over_after_its_time_however_long_ago_the_last_batch_was(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "_RECENT", 0.0)
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=CALM, share=0.05, at=now), History())
    governor.ran(0.005)
    assert isinstance(governor.ask(settings_of()), Rest)
    until(lambda: isinstance(governor.ask(settings_of()), Go), "the end of the rest")


def test_a_worker_that_rests_or_holds_keeps_nobody_s_rows(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 9.0}), share=0.25, at=now), History())
    governor.ran(100.0)
    for limits in (LIMITS, {"lag": Limit(max=100, stop=None)}):
        governor.ask(settings_of(limits=limits, rows_per_second=1_000))
    assert shared.client.exists("test:governor:advances") == 0


def test_a_limit_in_wal_bounds_the_rows_where_it_is_the_lower_one(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=CALM, share=1.0, at=now, cost=Cost(bytes_per_row=500)), History())
    both = settings_of(rows_per_second=10_000, wal_per_second=1_000_000)
    governor.ask(both)
    governor.paid(both, 400_000)
    answer = governor.ask(both)
    assert isinstance(answer, Rest)
    assert answer.reason == "rate limit: 2,000 rows/s"
    assert 190 < answer.seconds <= 200
