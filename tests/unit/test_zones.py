"""Zones: what a sample means for the pace."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.governing import CALM, LIMITS, settings_of
from worker.governor.cost import Cost
from worker.governor.limits import Limit, Sample, SignalName
from worker.governor.shared import Posted, next_posted, next_share
from worker.governor.zones import EASE, LEAVE_STOP, Reading, Zone, judge, readings
from worker.ledger import Settings


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


def _posted(
    values: list[float], signal: SignalName = "lag", settings: Settings | None = None
) -> list[Posted]:
    """What is posted of a signal's values, one sample after the other."""
    told: list[Posted] = []
    for at, value in enumerate(values):
        before = told[-1] if told else None
        sample = Sample(values={signal: value})
        told.append(next_posted(before, sample, float(at), settings or settings_of(), Cost()))
    return told


@given(st.floats(0, 1), st.sampled_from([0.4, 0.7, 1.0]))
def test_a_signal_that_swings_around_a_limit_does_not_make_the_zone_swing(
    swing: float, around: float
) -> None:
    middle = around * 1.5
    values = [middle * (1 + swing), middle * (1 - swing)] * 20
    # No stop: a value at twice the limit is below it here, and a stop is another matter.
    limits: dict[SignalName, Limit] = {"lag": Limit(max=1.5, stop=None)}
    zones = [posted.zone for posted in _posted(values, settings=settings_of(limits=limits))]
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
    settings = settings_of(limits={"waiting": Limit(max=None, stop=stop)})
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
    told = _posted(values, settings=settings_of(limits={"lag": Limit(max=limit, stop=None)}))
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
    held = next_posted(None, sample, 0.0, settings_of(unreadable="hold"), Cost())
    assert (held.zone, held.signal) == (Zone.HOLD, "lag")
    assert held.reason == "replica lag in seconds: can't be read, GRANT pg_monitor TO tenantry"


def test_what_can_not_be_read_is_ignored_where_the_plan_says_so_or_sets_no_limit() -> None:
    sample = Sample(unreadable={"lag": "no right", "query": "no such table"})
    assert next_posted(None, sample, 0.0, settings_of(), Cost()).zone is Zone.GROW
    sample = Sample(unreadable={"query": "no such table"})
    assert next_posted(None, sample, 0.0, settings_of(unreadable="hold"), Cost()).zone is Zone.GROW


def test_a_row_costs_what_the_server_wrote_while_rows_were_paid_for() -> None:
    cost = Cost().and_now(1_000.0, 0).and_now(501_000.0, 1_000)
    assert cost.bytes_per_row == 500.0


def test_a_second_without_rows_leaves_the_cost_of_a_row_as_it_was() -> None:
    cost = Cost().and_now(0.0, 0).and_now(500_000.0, 1_000)
    for second in range(20):
        cost = cost.and_now(500_000.0 + second, 1_000, 1e6)
    assert cost.bytes_per_row == pytest.approx(500.0, rel=0.01)


def test_a_row_made_dear_by_the_application_is_cheap_again_within_seconds_of_its_end() -> None:
    limit, cost = 10e6, Cost().and_now(0.0, 0, 10e6)
    for second in range(1, 11):
        cost = cost.and_now(150e6 * second, 4_000, limit)
    assert cost.bytes_per_row > 300_000
    for second in range(1, 11):
        cost = cost.and_now(1_500e6 + second, 4_000, limit)
    assert limit / cost.bytes_per_row > 4_000


def test_a_row_stays_dear_while_the_application_alone_writes_more_than_the_limit() -> None:
    limit, cost = 10e6, Cost().and_now(0.0, 0, 10e6)
    for second in range(1, 40):
        cost = cost.and_now(150e6 * second, 4_000, limit)
    assert cost.bytes_per_row > 300_000


def test_rows_that_cost_much_themselves_are_no_cheaper_after_a_hold() -> None:
    limit, cost = 100e6, Cost()
    for second in range(20):
        cost = cost.and_now(50e6 * second, 10_000 * second, limit)
    for _ in range(30):
        cost = cost.and_now(50e6 * 19, 190_000, limit)
    assert cost.bytes_per_row == pytest.approx(5_000.0)


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(0, 10**6)), max_size=40))
def test_a_row_never_costs_nothing_whatever_was_flushed_or_restored(seen: list[tuple[float, int]]) -> None:
    cost = Cost()
    for written, rows in seen:
        cost = cost.and_now(written, rows, 1e6)
    assert cost.bytes_per_row > 0
