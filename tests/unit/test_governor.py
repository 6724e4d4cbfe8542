"""Zones, the shared pace, and the age of a sample, on a Redis that is a fake."""

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import until
from worker.governor import pace
from worker.governor.cost import Cost
from worker.governor.history import History
from worker.governor.limits import Limit, Sample, SignalName
from worker.governor.pace import STALE_AFTER, Go, Governor, Hold, Rest
from worker.governor.shared import ADVANCE_LASTS, Posted, Shared, next_posted, next_share
from worker.governor.zones import EASE, LEAVE_STOP, Reading, Zone, judge, readings
from worker.ledger import Settings

if TYPE_CHECKING:
    from sql.postgres.connection import Pool

LIMITS: dict[SignalName, Limit] = {
    "lag": Limit(max=1.5, stop=5),
    "lag_bytes": Limit(max=64, stop=512),
    "waiting": Limit(max=2, stop=10),
    "snapshot": Limit(max=300, stop=3600),
}
CALM = Sample(values={"waiting": 0, "snapshot": 0})


@pytest.fixture
def shared() -> Iterator[Shared]:
    with fakeredis.FakeRedis() as client:
        yield Shared(client, "test")


@pytest.mark.parametrize(
    ("used", "zone"),
    [
        (0.39, Zone.GROW),
        (0.4, Zone.KEEP),
        (0.69, Zone.KEEP),
        (0.7, Zone.SHED),
        (0.99, Zone.SHED),
        (1.0, Zone.HALVE),
    ],
)
def test_a_signal_moves_through_the_zones_on_its_way_to_the_limit(used: float, zone: Zone) -> None:
    assert judge([Reading("lag", used, Limit(max=1.0, stop=10.0))]).zone is zone


def test_a_signal_at_its_stop_holds_however_calm_the_others_are() -> None:
    calm, stopped = Reading("waiting", 0, LIMITS["waiting"]), Reading("lag", 5.0, LIMITS["lag"], "replica1")
    verdict = judge([calm, stopped])
    assert verdict.zone is Zone.HOLD
    assert verdict.reason == "replica lag in seconds: 5 (replica1), stop at 5"


def test_the_worst_signal_decides_and_is_the_reason() -> None:
    sample = Sample(values={"waiting": 0, "lag": 0.0, "lag_bytes": 60.0})
    assert judge(readings(sample, LIMITS)).signal == "lag_bytes"


def test_a_database_without_standbys_is_not_judged_by_lag() -> None:
    assert {reading.signal for reading in readings(CALM, LIMITS)} == {"waiting", "snapshot"}


@given(st.lists(st.sampled_from(list(Zone)), max_size=50))
def test_the_share_of_full_speed_never_dies_and_never_passes_one(zones: list[Zone]) -> None:
    share = 1.0
    for zone in zones:
        share = next_share(share, zone)
    assert 0.05 <= share <= 1.0


def _settings(**changes: object) -> Settings:
    told = {"target": 0.1, "synchronous_commit": "on", "throttle": True, "limits": LIMITS}
    return Settings.model_validate(told | changes)


def _posted(
    values: list[float], signal: SignalName = "lag", settings: Settings | None = None
) -> list[Posted]:
    """What is posted of a signal's values, one sample after the other."""
    told: list[Posted] = []
    for at, value in enumerate(values):
        before = told[-1] if told else None
        sample = Sample(values={signal: value})
        told.append(next_posted(before, sample, float(at), settings or _settings(), Cost()))
    return told


@given(st.floats(0, 1), st.sampled_from([0.4, 0.7, 1.0]))
def test_a_signal_that_swings_around_a_limit_does_not_make_the_zone_swing(
    swing: float, around: float
) -> None:
    middle = around * 1.5
    values = [middle * (1 + swing), middle * (1 - swing)] * 20
    # No stop: a value at twice the limit is below it here, and a stop is another matter.
    limits: dict[SignalName, Limit] = {"lag": Limit(max=1.5, stop=None)}
    zones = [posted.zone for posted in _posted(values, settings=_settings(limits=limits))]
    assert len(set(zones[10:])) == 1


@given(st.lists(st.floats(0, 20), max_size=40))
def test_the_pace_of_every_signal_keeps_between_a_twentieth_and_full_speed(values: list[float]) -> None:
    assert all(0.05 <= posted.share <= 1.0 for posted in _posted(values))


@given(st.lists(st.floats(0, 4.9), max_size=20), st.floats(5, 100))
def test_a_hold_begins_with_the_first_sample_at_its_stop_and_ends_when_the_signal_calms_down(
    before: list[float], stop: float
) -> None:
    told = [posted.zone for posted in _posted([*before, stop, 4.4])]
    assert Zone.HOLD not in told[:-2]
    assert told[-2:] != [Zone.HOLD, Zone.HOLD]
    assert told[-2] is Zone.HOLD


@given(st.lists(st.floats(5 * LEAVE_STOP, 10), min_size=1, max_size=20))
def test_a_hold_lasts_while_the_signal_swings_around_its_stop(values: list[float]) -> None:
    assert {posted.zone for posted in _posted([5.0, *values])} == {Zone.HOLD}


@pytest.mark.parametrize(("stop", "held", "free"), [(10, 9, 8), (3, 3, 2), (1, 1, 0), (2, 2, 1)])
def test_a_stop_in_counts_is_left_by_a_smaller_count(stop: int, held: int, free: int) -> None:
    settings = _settings(limits={"waiting": Limit(max=None, stop=stop)})
    told = _posted([stop, held, free], "waiting", settings)
    assert [posted.zone for posted in told] == [Zone.HOLD, Zone.HOLD, Zone.GROW]


@given(st.lists(st.floats(0, 20), min_size=1, max_size=20))
def test_a_sample_judged_again_with_what_was_posted_of_it_is_judged_the_same(values: list[float]) -> None:
    posted = _posted(values)[-1]
    assert judge(readings(posted.sample, LIMITS, posted.trends)).zone is posted.zone


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=40), st.floats(0.001, 1e6))
def test_a_zone_gets_worse_only_above_and_better_only_below_what_it_is_entered_at(
    values: list[float], limit: float
) -> None:
    entered = {Zone.GROW: 0.0, Zone.KEEP: 0.4, Zone.SHED: 0.7, Zone.HALVE: 1.0}
    told = _posted(values, settings=_settings(limits={"lag": Limit(max=limit, stop=None)}))
    for before, after in pairwise(told):
        used = after.trends["lag"].value / limit
        if after.zone.severity > before.zone.severity:
            assert used >= entered[after.zone]
        if after.zone.severity < before.zone.severity:
            assert used < entered[before.zone] * EASE


def test_one_bad_sample_among_good_ones_does_not_halve_the_pace() -> None:
    assert [posted.zone for posted in _posted([0.1, 0.1, 1.6, 0.1])] == [
        Zone.GROW,
        Zone.GROW,
        Zone.KEEP,
        Zone.KEEP,
    ]


def test_a_limit_that_is_set_to_nothing_is_passed_by_anything() -> None:
    assert judge([Reading("lag", 0.1, Limit(max=0.0, stop=None))]).zone is Zone.HALVE


def test_what_can_not_be_read_holds_where_the_plan_says_so_and_says_why() -> None:
    sample = Sample(unreadable={"lag": "GRANT pg_monitor TO tenantry"})
    held = next_posted(None, sample, 0.0, _settings(unreadable="hold"), Cost())
    assert (held.zone, held.signal) == (Zone.HOLD, "lag")
    assert held.reason == "replica lag in seconds: can't be read, GRANT pg_monitor TO tenantry"


def test_what_can_not_be_read_is_ignored_where_the_plan_says_so_or_sets_no_limit() -> None:
    sample = Sample(unreadable={"lag": "no right", "query": "no such table"})
    assert next_posted(None, sample, 0.0, _settings(), Cost()).zone is Zone.GROW
    sample = Sample(unreadable={"query": "no such table"})
    assert next_posted(None, sample, 0.0, _settings(unreadable="hold"), Cost()).zone is Zone.GROW


def test_a_row_costs_what_the_server_wrote_while_rows_were_paid_for() -> None:
    cost = Cost().and_now(1_000.0, 0).and_now(501_000.0, 1_000)
    assert cost.bytes_per_row == 500.0


def test_a_second_without_rows_leaves_the_cost_of_a_row_as_it_was() -> None:
    cost = Cost().and_now(0.0, 0).and_now(500_000.0, 1_000)
    for second in range(20):
        cost = cost.and_now(500_000.0 + second, 1_000)
    assert cost.bytes_per_row == pytest.approx(500.0, rel=0.01)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 10**6)), max_size=40))
def test_a_row_never_costs_nothing_whatever_was_flushed_or_restored(seen: list[tuple[float, int]]) -> None:
    cost = Cost()
    for written, rows in seen:
        cost = cost.and_now(written, rows)
    assert cost.bytes_per_row > 0


# -- what is shared


def _ask(shared: Shared, who: str, rate: float) -> float:
    return shared.ask(who, None, sampling=False, rate=rate).wait


def test_only_one_worker_samples_at_a_time(shared: Shared) -> None:
    turns = [shared.ask(who, None, sampling=True, rate=None).turn for who in "abc"]
    assert turns == [True, False, False]


def test_a_posted_sample_is_news_to_everybody_who_does_not_know_it(shared: Shared) -> None:
    posted = Posted(sample=CALM, share=0.5, at=shared.ask("a", None, sampling=True, rate=None).now)
    shared.post(posted, History(written=((1.0, 2.0),)))
    told = shared.ask("b", None, sampling=True, rate=None)
    assert (told.news, told.posted) == (True, posted)
    again = shared.ask("b", told.posted, sampling=True, rate=None)
    assert (again.news, again.posted) == (False, posted)
    assert shared.past() == (History(written=((1.0, 2.0),)), 0)


def test_a_flush_is_news_too(shared: Shared) -> None:
    posted = Posted(sample=CALM, share=0.5, at=1.0)
    shared.post(posted, History())
    shared.client.flushall()
    told = shared.ask("b", posted, sampling=True, rate=None)
    assert (told.news, told.posted, told.turn) == (True, None, True)


def test_nobody_pays_before_having_looked_at_what_is_posted(shared: Shared) -> None:
    shared.post(Posted(sample=CALM, share=0.5, at=1.0), History())
    assert shared.ask("a", None, sampling=True, rate=10.0).news
    assert shared.client.exists("test:governor:budget") == 0


def test_rows_are_paid_for_with_time(shared: Shared) -> None:
    assert _ask(shared, "a", 1_000) == 0
    shared.settle("a", 2_000)
    assert 1.7 < _ask(shared, "a", 1_000) <= 2.0


def test_the_budget_is_one_for_all_workers(shared: Shared) -> None:
    for who in "ab":
        shared.ask(who, None, sampling=False, rate=1_000)
        shared.settle(who, 1_000)
    assert 1.7 < _ask(Shared(shared.client, "test"), "c", 1_000) <= 2.0


def test_of_many_workers_that_see_the_debt_gone_only_as_many_begin_as_the_budget_pays_for(
    shared: Shared,
) -> None:
    _ask(shared, "a", 1_000)
    shared.settle("a", 500)
    shared.client.hset("test:governor:budget", "rows", 0)
    assert sum(_ask(shared, who, 1_000) == 0 for who in "abcdefgh") == 1


def test_what_no_batch_has_told_yet_is_paid_for_with_a_second_s_worth(shared: Shared) -> None:
    assert [_ask(shared, who, 1_000) == 0 for who in "ab"] == [True, False]


def test_a_batch_that_came_to_nothing_costs_nothing(shared: Shared) -> None:
    _ask(shared, "a", 1_000)
    shared.settle("a", 0)
    assert _ask(shared, "b", 1_000) == 0


def test_a_worker_that_asks_again_has_its_own_advance_back(shared: Shared) -> None:
    assert [_ask(shared, "a", 1_000) for _ in range(5)] == [0] * 5


def test_a_killed_worker_s_advance_goes_back_into_the_budget(shared: Shared) -> None:
    _ask(shared, "killed", 10)
    assert _ask(shared, "b", 10) > 0
    long_ago = shared.ask("b", None, sampling=False, rate=None).now - ADVANCE_LASTS - 1
    shared.client.hset("test:governor:advances", "killed", f"10 {long_ago}")
    assert _ask(shared, "b", 10) == 0
    assert shared.client.hkeys("test:governor:advances") == [b"b"]


def test_who_settles_an_advance_that_went_back_pays_for_all_of_it(shared: Shared) -> None:
    _ask(shared, "slow", 1_000)
    shared.client.delete("test:governor:advances")
    shared.client.hset("test:governor:budget", "rows", 0)
    shared.settle("slow", 700)
    assert shared.client.hget("test:governor:budget", "rows") in {b"-700", b"-700.0"}


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5_000)), min_size=1, max_size=60),
    st.integers(1, 50_000),
)
def test_no_more_is_done_than_the_rate_allows_and_one_batch(
    batches: list[tuple[str, int]], rate: int
) -> None:
    """Whoever asks in whatever order: what began while the budget was in debt is nothing."""
    with fakeredis.FakeRedis() as client:
        shared = Shared(client, "test")
        begun = shared.ask("z", None, sampling=False, rate=None).now
        done = 0
        for who, rows in batches:
            answer = shared.ask(who, None, sampling=False, rate=float(rate))
            if answer.wait == 0:
                shared.settle(who, rows)
                done += rows
        elapsed = shared.ask("z", None, sampling=False, rate=None).now - begun
        client.flushall()
    assert done <= rate * (elapsed + 0.25) + max(rows for _, rows in batches) + 1


# -- what a worker is answered


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
        governor, settings = _governor(Shared(client, "test")), _settings(throttle=False)
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
        answer = _governor(Shared(client, "test")).ask(_settings(**{"throttle": False} | wanted))
    assert isinstance(answer, Hold)
    assert answer.reason == "the queue server does not answer: ConnectionError"


def test_a_queue_server_that_is_back_lets_batches_go_on(server: fakeredis.FakeServer) -> None:
    with fakeredis.FakeRedis(server=server) as client:
        governor = _governor(Shared(client, "test"))
        settings = _settings(throttle=False, rows_per_second=1_000)
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
    answer = governor.ask(_settings())
    assert isinstance(answer, Hold)
    assert answer.reason == "the last sample of the database's health is old: over 15 s"
    shared.post(Posted(sample=CALM, share=1.0, at=now), History())
    assert isinstance(governor.ask(_settings()), Go)


def test_limits_that_are_told_anew_are_judged_with_the_sample_that_is_there(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 4.0}), share=1.0, at=now), History())
    assert isinstance(governor.ask(_settings()), Go)
    assert isinstance(governor.ask(_settings(limits={"lag": Limit(max=1.0, stop=4.0)})), Hold)


def test_below_full_speed_a_worker_rests_between_its_batches_and_says_what_for(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 1.2}), share=0.25, at=now), History())
    assert isinstance(governor.ask(_settings()), Go)
    governor.ran(100.0)
    answer = governor.ask(_settings())
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
    assert isinstance(governor.ask(_settings()), Rest)
    until(lambda: isinstance(governor.ask(_settings()), Go), 10, "the end of the rest")


def test_a_worker_that_rests_or_holds_keeps_nobody_s_rows(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=Sample(values={"lag": 9.0}), share=0.25, at=now), History())
    governor.ran(100.0)
    for limits in (LIMITS, {"lag": Limit(max=100, stop=None)}):
        governor.ask(_settings(limits=limits, rows_per_second=1_000))
    assert shared.client.exists("test:governor:advances") == 0


def test_a_limit_in_wal_bounds_the_rows_where_it_is_the_lower_one(shared: Shared) -> None:
    now = shared.ask("b", None, sampling=True, rate=None).now
    governor = _governor(shared)
    shared.post(Posted(sample=CALM, share=1.0, at=now, cost=Cost(bytes_per_row=500)), History())
    both = _settings(rows_per_second=10_000, wal_per_second=1_000_000)
    governor.ask(both)
    governor.paid(both, 4_000)
    answer = governor.ask(both)
    assert isinstance(answer, Rest)
    assert answer.reason == "rate limit: 2,000 rows/s"
    assert 1.5 < answer.seconds <= 2.0
