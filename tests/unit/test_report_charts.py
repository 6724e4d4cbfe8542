"""What is drawn over time lies where it belongs, and inside."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.report.charts import SIDE, Span, amount, bands, nice, rows, signal
from tests.reported import after, filled, held, pace

SPAN = Span(after(0), after(100))


def _numbers(path: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", path)]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 99), st.integers(1, 10**9)), min_size=1))
def test_whatever_batches_wrote_is_drawn_within_the_square(found: list[tuple[str, int, int]]) -> None:
    unique = {(table, at): filled(table, at, count) for table, at, count in found}
    drawn = rows(list(unique.values()), SPAN, ())
    assert drawn is not None
    assert len(drawn.shapes) == len({table for table, _ in unique})
    assert all(0 <= number <= SIDE + 0.5 for shape in drawn.shapes for number in _numbers(shape.path))


def test_tables_at_the_same_time_stand_on_each_other() -> None:
    drawn = rows([filled("a", 0, 500), filled("b", 0, 500)], SPAN, ())
    assert drawn is not None
    assert drawn.top == "1,000 rows/s"
    assert [shape.path for shape in drawn.shapes] == [
        "M0.0 1000.0V500.0H10.0V1000.0Z",
        "M0.0 500.0V0.0H10.0V500.0Z",
    ]


def test_the_tables_with_the_most_rows_have_the_colours() -> None:
    drawn = rows([filled(f"t{number}", number, 100 + number) for number in range(20)], SPAN, ())
    assert drawn is not None
    assert [shape.label for shape in drawn.shapes[:5]] == ["t19", "t18", "t17", "t16", "t15"]


def test_a_time_without_samples_is_a_gap_in_the_line() -> None:
    drawn = signal("lag", "Lag", [pace(0, lag=1), pace(10, lag=2), pace(80, lag=1)], SPAN, ())
    assert drawn is not None
    assert drawn.shapes[0].path == "M0.0 500.0H100.0V0.0H200.0M800.0 500.0H900.0"


def test_a_signal_that_is_not_there_is_not_drawn() -> None:
    assert signal("lag", "Lag", [pace(0), pace(10)], SPAN, ()) is None
    assert signal("lag", "Lag", [], SPAN, ()) is None


def test_holds_that_overlap_are_one_band_and_one_without_an_end_reaches_the_edge() -> None:
    found = bands([held(0, 10), held(5, 20), held(90, None)], SPAN)
    assert [(band.left, band.width) for band in found] == [(0.0, 200.0), (900.0, 100.0)]


@given(st.floats(1e-6, 1e15))
def test_the_upper_edge_is_above_the_highest_value_and_not_far(value: float) -> None:
    assert value * 0.999999 <= nice(value) <= value * 2.6


def test_a_moment_outside_is_drawn_at_the_edge() -> None:
    assert (SPAN.at(after(-5)), SPAN.at(after(500))) == (0, SIDE)


@pytest.mark.parametrize(
    ("value", "told"),
    [(0.0005, "0.5 ms"), (0.052, "52 ms"), (1.234, "1.23 s"), (0, "0 ms"), (4000, "4,000 s")],
)
def test_seconds_are_told_in_what_people_count_them_in(value: float, told: str) -> None:
    assert amount(value, "s") == told


def test_the_values_of_the_edge_go_up() -> None:
    assert all(a <= b for a, b in pairwise(nice(value / 10) for value in range(1, 5_000)))
