"""Zones, the shared pace, and the age of a sample, on a Redis that is a fake."""

from collections.abc import Iterator
from dataclasses import replace

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.governor.history import History
from worker.governor.limits import Limit, Sample, SignalName
from worker.governor.shared import Posted, Shared, next_share
from worker.governor.signals import Look
from worker.governor.zones import Reading, Zone, judge, readings

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


def test_lag_in_time_counts_while_nothing_is_written() -> None:
    history = History(written=((100.0, 0.0), (200.0, 1.0), (200.0, 2.0)))
    assert history.behind(100.0, now=4.0) == 3.0


def test_a_standby_that_has_replayed_everything_is_not_behind() -> None:
    history = History(written=((100.0, 0.0), (200.0, 1.0)))
    assert history.behind(200.0, now=9.0) == 0.0


def test_the_slowest_standby_counts() -> None:
    history = History(written=((100.0, 0.0), (200.0, 1.0)))
    sample = history.sample(Look(CALM, 200.0, {"quick": 200.0, "slow": 50.0}), now=3.0)
    assert (sample.values["lag"], sample.values["lag_bytes"], sample.details["lag"]) == (3.0, 150.0, "slow")


@given(st.lists(st.sampled_from(list(Zone)), max_size=50))
def test_the_share_of_full_speed_never_dies_and_never_passes_one(zones: list[Zone]) -> None:
    share = 1.0
    for zone in zones:
        share = next_share(share, zone)
    assert 0.05 <= share <= 1.0


def test_only_one_worker_samples_at_a_time(shared: Shared) -> None:
    assert [shared.my_turn("a"), shared.my_turn("b")] == [True, False]


def test_a_posted_sample_is_seen_by_everybody(shared: Shared) -> None:
    posted = Posted(sample=CALM, share=0.5, at=shared.now())
    shared.post(posted)
    assert replace(shared).posted() == posted


def test_nobody_has_posted_after_a_flush(shared: Shared) -> None:
    shared.post(Posted(sample=CALM, share=0.5, at=shared.now()))
    shared.client.flushall()
    assert shared.posted() is None


def test_rows_are_paid_for_with_time(shared: Shared) -> None:
    wait = shared.spend(2_000, rate=1_000)
    assert 1.7 < wait <= 2.0


def test_the_budget_is_one_for_all_workers(shared: Shared) -> None:
    one = shared.spend(1_000, rate=1_000)
    two = Shared(shared.client, "test").spend(1_000, rate=1_000)
    assert two > one + 0.5


def test_an_unspent_budget_is_free_at_once(shared: Shared) -> None:
    assert shared.spend(0, rate=1_000) == 0.0
