"""The arithmetic of batches: ranges in visiting order, slices of ids, sizes by duration."""

import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.completion import swept_together
from control.jobs import LEAVING, chosen, largest, visits
from control.stages.backfill import slices
from sql.job import JobSpec, KeyColumn
from sql.postgres.paging import Heap
from tests.filled_table import spec_of_items
from worker.jobs import Job
from worker.paging import first_size, group, page_of, place, ranges, resized, uppers

#: Pages are counted, not asked for.
_NOBODY: Any = None

_KEY = (KeyColumn(name="id", type="text"),)


def _spec(**changes: Any) -> JobSpec:
    return spec_of_items(**({"key": _KEY, "paging": "pages", "stripes": 16} | changes))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True), st.sampled_from([1, 2, 8]))
def test_a_group_visits_every_range_once_per_stripe_and_leaves_no_gap(
    bounds: list[str], stripes: int
) -> None:
    visits = list(ranges("key", None, [[upper] for upper in bounds], stripes))
    for stripe in range(stripes) if stripes > 1 else [None]:
        chain = [visit for visit in visits if visit.stripe == stripe]
        assert chain[0].lower is None
        assert all(after.lower == before.upper for before, after in pairwise(chain))
        assert [visit.upper for visit in chain] == [[upper] for upper in bounds]


def test_a_stripe_is_visited_over_the_whole_group_before_the_next_one() -> None:
    visits = list(ranges("key", ["a"], [["b"], ["c"]], 2))
    assert [visit.stripe for visit in visits] == [0, 0, 1, 1]


@given(st.integers(0, 2**32 - 1))
def test_a_place_names_its_page(page: int) -> None:
    assert page_of(place(page)) == page


def test_a_key_is_no_place() -> None:
    with pytest.raises(ValueError, match=r"^'entity-1' is no place in a heap$"):
        page_of(["entity-1"])


def _pages(last: int, planned_to: int | None, batch_rows: int, **changes: Any) -> list[int]:
    """The pages at which the next group's ranges end."""
    begun = None if planned_to is None else place(planned_to)
    spec = _spec(**{"rows_per_page": 40.0} | changes)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(7, "t", "t", "fill", "running", spec, place(last), begun, False, 100, 0, 0, now, None)
    return [page_of(upper) for upper in uppers(_NOBODY, job, batch_rows)]


def test_a_group_of_pages_is_four_ranges_each_as_wide_as_a_batch_of_every_stripe() -> None:
    assert _pages(1_000_000, None, 100) == [40, 80, 120, 160]
    assert _pages(1_000_000, 160, 100) == [200, 240, 280, 320]
    assert _pages(1_000_000, 160, 95) == [198, 236, 274, 312]


def test_the_last_groups_of_pages_are_smaller_and_end_at_the_frozen_bound() -> None:
    assert _pages(400, 160, 100) == [190, 220, 250, 280]
    assert _pages(400, 280, 100) == [295, 310, 325, 340]
    assert _pages(400, 340, 100) == [350, 360, 370, 380]
    assert _pages(400, 380, 100) == [390, 400]
    assert _pages(400, 385, 100) == [395, 400]


def test_a_range_of_pages_is_a_quarter_of_its_width_at_least_rounded_up_and_one_page() -> None:
    assert _pages(100, 90, 95) == [100]
    assert _pages(100, 78, 95) == [88, 98, 100]
    assert _pages(1_000, None, 100, stripes=1, rows_per_page=400.0) == [1, 2, 3, 4]


def test_a_job_without_a_last_key_has_nothing_to_cut() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(7, "t", "t", "fill", "running", _spec(), None, None, True, 100, 0, 0, now, None)
    with pytest.raises(ValueError, match=r"^job 7 has no last key$"):
        uppers(_NOBODY, job, 100)


@pytest.mark.parametrize(("stripes", "batches"), [(1, 1), (2, 8), (16, 64)])
def test_a_whole_group_has_four_ranges_of_every_stripe_or_is_a_batch(stripes: int, batches: int) -> None:
    assert group(_spec(stripes=stripes)) == batches


@given(st.sets(st.integers(1, 300), min_size=1), st.sampled_from([0.0, 0.01, 0.1, 0.5, 2.0]))
def test_slices_point_at_every_batch_once_and_at_no_other(ids: set[int], seconds: float) -> None:
    pointed_at = [id_ for first, last in slices(sorted(ids), seconds) for id_ in range(first, last + 1)]
    assert pointed_at == sorted(ids)


@given(st.sets(st.integers(1, 300), min_size=1), st.sampled_from([0.001, 0.02, 0.1, 0.5]))
def test_a_slice_is_about_a_second_of_work_at_the_most(ids: set[int], seconds: float) -> None:
    assert all((last - first) * seconds < 1.0 for first, last in slices(sorted(ids), seconds))


@given(st.sampled_from([0.001, 0.1, 2.0]))
def test_a_group_of_striped_ranges_is_one_message_so_that_one_worker_has_its_pages(seconds: float) -> None:
    assert list(slices(range(1, 129), seconds, 64)) == [(1, 64), (65, 128)]


_MEASURED = st.lists(st.tuples(st.integers(0, 200_000), st.floats(0.0001, 100.0)), max_size=20)


@given(st.integers(100, 100_000), _MEASURED)
def test_a_batch_size_stays_within_its_bounds(batch_rows: int, measured: list[tuple[int, float]]) -> None:
    assert 100 <= resized(batch_rows, measured, 0.1) <= 100_000


@given(st.integers(100, 5_000), st.lists(st.floats(0.0001, 0.1), min_size=5, max_size=20))
def test_a_batch_grows_no_further_than_its_table_allows(batch_rows: int, durations: list[float]) -> None:
    assert resized(batch_rows, [(batch_rows, took) for took in durations], 0.1, most_rows=5_000) <= 5_000


def test_a_small_table_is_cut_into_a_few_groups_of_striped_ranges() -> None:
    assert first_size(2_500, 40_000, _spec()) == 156


def test_a_big_table_begins_with_the_size_that_the_plan_wants() -> None:
    assert first_size(2_500, 10_000_000, _spec()) == 2_500


def test_contiguous_batches_begin_with_the_size_that_the_plan_wants() -> None:
    assert first_size(2_500, 1_000, _spec(paging="contiguous", stripes=1)) == 2_500


def test_a_table_of_wide_rows_begins_no_larger_than_its_limit() -> None:
    assert first_size(2_500, 10_000_000, _spec(most_rows=700)) == 700


def test_batches_grow_by_half_at_most() -> None:
    assert resized(1000, [(1000, 0.001)] * 11, 0.1) == 1500


def test_several_groups_planned_on_the_same_batches_are_of_one_size() -> None:
    measured = [(1000, 0.06)] * 11
    once = resized(1000, measured, 0.1)
    assert resized(once, measured, 0.1) == once == 1500


def test_batches_five_times_over_the_target_shrink_to_a_tenth_once() -> None:
    measured = [(10_000, 0.51)] * 11
    assert resized(10_000, measured, 0.1) == resized(1000, measured, 0.1) == 1000


def test_one_slow_batch_of_eleven_does_not_decide() -> None:
    assert resized(1000, [(1000, 9.0)] + [(1000, 0.1)] * 10, 0.1) == 1000


def test_too_few_batches_decide_nothing() -> None:
    assert resized(1000, [(1000, 9.0)] * 4, 0.1) == 1000


def test_no_table_of_stripes_begins_with_less_than_the_smallest_batch() -> None:
    assert first_size(2_500, 1_000, _spec()) == 100
    assert first_size(2_500, 1_000, _spec(stripes=2)) == 100
    assert first_size(2_500, 6_400, _spec(stripes=2)) == 200


def test_five_batches_decide_and_the_newest_eleven_alone() -> None:
    assert resized(1000, [(1000, 0.05)] * 5, 0.1) == 1500
    assert resized(1000, [(1000, 0.1)] * 10 + [(1000, 9.0)] * 9, 0.1) == 1000


def test_the_second_longest_of_eleven_durations_is_held_against_the_target() -> None:
    durations = [0.08] + [0.01 * n for n in range(1, 10)] + [9.0]
    assert resized(1000, [(1000, took) for took in durations], 0.1) == round(1000 * 0.1 / 0.09)


def test_batches_five_times_over_the_target_and_not_more_shrink_by_that() -> None:
    assert resized(10_000, [(10_000, 0.5)] * 11, 0.1) == 2_000


def test_batches_that_took_no_time_at_all_grow_by_half() -> None:
    assert resized(1000, [(1000, 0.0)] * 11, 0.1) == 1500


def test_a_batch_that_found_half_of_its_rows_counts_with_them_and_one_of_fewer_as_a_whole_one() -> None:
    assert resized(1000, [(500, 0.1)] * 11, 0.1) == 500
    assert resized(1000, [(499, 0.1)] * 11, 0.1) == 1000


def test_no_batch_is_cut_larger_than_100_000_rows() -> None:
    assert resized(90_000, [(90_000, 0.01)] * 11, 0.1) == 100_000


def test_no_batch_is_cut_smaller_than_100_rows() -> None:
    assert resized(101, [(101, 9.0)] * 11, 0.1) == 100


def test_batches_grow_over_a_stretch_with_nothing_to_fill() -> None:
    assert resized(1000, [(0, 0.001)] * 11, 0.1) == 1500


def test_slow_batches_shrink_however_few_rows_they_found() -> None:
    assert resized(10_000, [(3, 0.51)] * 11, 0.1) == 1000


@pytest.mark.parametrize(
    ("left", "rows", "together"),
    [(1, 10_000_000, 1), (50_000, 10_000_000, 100), (10_000_000, 10_000_000, 2_500), (3, 0, 2_500)],
)
def test_rows_far_apart_are_swept_one_by_one_and_neighbours_together(
    left: int, rows: int, together: int
) -> None:
    assert swept_together(left, rows) == together


def test_the_pages_of_a_group_of_the_largest_batches_fit_into_the_part_of_the_cache_that_is_theirs() -> None:
    rows_in_group = 8_192 * 45.0
    assert largest(rows_in_group, stripes=16) * 16 * 4 <= rows_in_group


@pytest.mark.parametrize(
    ("wanted", "key", "pages", "correlation", "way"),
    [
        ("auto", _KEY, 80_000, 1.0, "pages"),
        ("auto", _KEY, 80_000, 0.01, "pages"),
        ("auto", _KEY, 80_000, None, "pages"),
        ("auto", _KEY, 100, 1.0, "contiguous"),
        ("keys", _KEY, 80_000, -0.98, "striped"),
        ("keys", _KEY, 80_000, None, "striped"),
        ("keys", _KEY, 80_000, 0.01, "contiguous"),
        ("striped", _KEY, 80_000, 0.01, "striped"),
        ("contiguous", _KEY, 80_000, 1.0, "contiguous"),
        ("pages", _KEY, 100, 1.0, "pages"),
        ("auto", (), 100, None, "pages"),
        ("striped", (), 80_000, None, "pages"),
    ],
)
def test_a_table_is_paged_as_the_plan_wants_or_as_its_key_lies_in_its_heap(
    wanted: Any, key: tuple[KeyColumn, ...], pages: int, correlation: float | None, way: str
) -> None:
    found, why = chosen(wanted, key, Heap(pages, 32_768, pages * 45, correlation))
    assert found == way
    assert why


@given(st.floats(1.0, 290.0))
def test_no_visit_takes_more_rows_of_a_page_than_may_leave_it(rows_per_page: float) -> None:
    a_visit_takes = math.ceil(rows_per_page / visits(rows_per_page))
    assert a_visit_takes == 1 or a_visit_takes <= LEAVING * rows_per_page


def test_pages_of_46_rows_are_visited_12_times() -> None:
    assert visits(46.0) == 12
