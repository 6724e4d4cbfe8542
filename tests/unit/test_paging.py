"""The arithmetic of batches: ranges in visiting order, slices of ids, sizes by duration."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from control.stages.backfill import slices
from worker.paging import first_size, ranges, resized


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True), st.sampled_from([1, 2, 8]))
def test_a_group_visits_every_range_once_per_stripe_and_leaves_no_gap(
    uppers: list[str], stripes: int
) -> None:
    visits = list(ranges(None, [[upper] for upper in uppers], stripes))
    for stripe in range(stripes):
        chain = [visit for visit in visits if visit.stripe == stripe]
        assert chain[0].lower is None
        assert all(after.lower == before.upper for before, after in pairwise(chain))
        assert [visit.upper for visit in chain] == [[upper] for upper in uppers]


def test_a_stripe_is_visited_over_the_whole_group_before_the_next_one() -> None:
    visits = list(ranges(["a"], [["b"], ["c"]], 2))
    assert [visit.stripe for visit in visits] == [0, 0, 1, 1]


@given(st.sets(st.integers(1, 300), min_size=1), st.sampled_from([0.01, 0.1, 0.5, 2.0]))
def test_slices_point_at_every_batch_once_and_at_no_other(ids: set[int], target: float) -> None:
    pointed_at = [id_ for first, last in slices(sorted(ids), target) for id_ in range(first, last + 1)]
    assert pointed_at == sorted(ids)


@given(st.sets(st.integers(1, 300), min_size=1))
def test_a_slice_is_about_a_second_of_work_at_the_most(ids: set[int]) -> None:
    assert all(last - first < 10 for first, last in slices(sorted(ids), 0.1))


@given(st.integers(100, 100_000), st.lists(st.floats(0.0001, 100.0), max_size=20))
def test_a_batch_size_stays_within_its_bounds(batch_rows: int, durations: list[float]) -> None:
    assert 100 <= resized(batch_rows, durations, 0.1) <= 100_000


def test_a_small_table_is_cut_into_a_whole_group_of_striped_ranges() -> None:
    assert first_size(2_500, 40_000, stripes=8) == 312


def test_a_big_table_begins_with_the_size_that_the_plan_wants() -> None:
    assert first_size(2_500, 10_000_000, stripes=8) == 2_500


def test_contiguous_batches_begin_with_the_size_that_the_plan_wants() -> None:
    assert first_size(2_500, 1_000, stripes=1) == 2_500


def test_batches_grow_by_half_at_most() -> None:
    assert resized(1000, [0.001] * 11, 0.1) == 1500


def test_batches_five_times_over_the_target_shrink_to_a_tenth() -> None:
    assert resized(10_000, [0.51] * 11, 0.1) == 1000


def test_one_slow_batch_of_eleven_does_not_decide() -> None:
    assert resized(1000, [9.0] + [0.1] * 10, 0.1) == 1000


def test_too_few_batches_decide_nothing() -> None:
    assert resized(1000, [9.0] * 4, 0.1) == 1000
