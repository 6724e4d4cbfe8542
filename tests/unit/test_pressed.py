"""What the keys of the full screen mean."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control import tuning
from control.plan.governor import MOST_ROWS
from control.plan.values import as_duration, as_size, seconds, size
from control.watch.keyboard import pressed_in
from control.watch.pressed import Hand
from sql.errors import GivenWrongError
from tests.waiting import until


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("p", "p"),
        ("+-", "+-"),
        ("\x1b[A", ""),  # an arrow
        ("\x1bOP\x1bOQ", ""),  # F1 and F2
        ("\x1bOp", ""),  # 0 of a keypad in application mode
        ("\x1b[15;5~q", "q"),  # Ctrl-F5, then q
        ("\x1b", ""),
        ("\x1bp", ""),  # Alt-p
    ],
)
def test_arrows_and_function_keys_are_none_of_ours(sent: str, keys: str) -> None:
    assert pressed_in(sent) == keys


def test_slower_is_a_quarter_below_what_goes_now_and_faster_a_quarter_above_the_limit() -> None:
    assert tuning.slower(None, 8_000.4) == 6_000
    assert tuning.slower(20_000, 8_000.4) == 6_000, "a limit that doesn't bind would else be lowered in vain"
    assert tuning.slower(4_000, 8_000.4) == 3_000, "the rate of the last seconds comes after"
    assert tuning.slower(4_000, 0) == 3_000
    assert tuning.faster(4_000) == 5_000


def test_without_a_limit_or_a_row_there_is_no_pace_to_change() -> None:
    with pytest.raises(GivenWrongError, match="no row goes now"):
        tuning.slower(None, 0)
    with pytest.raises(GivenWrongError, match="no limit of rows per second is in force"):
        tuning.faster(None)


@given(st.integers(1, MOST_ROWS))
def test_each_step_changes_the_limit_and_gives_one_that_can_be_tuned(limit: int) -> None:
    if limit > 1:
        assert 1 <= tuning.slower(limit, 0) < limit
    if limit < MOST_ROWS:
        assert limit < tuning.faster(limit) <= MOST_ROWS
        tuning.changed({}, {"rows_per_second": str(tuning.faster(limit))})


def test_at_either_end_there_is_no_further_step() -> None:
    with pytest.raises(GivenWrongError, match="the slowest pace"):
        tuning.slower(1, 0)
    with pytest.raises(GivenWrongError, match="the highest limit"):
        tuning.faster(MOST_ROWS)


@given(st.floats(0.001, 1e6))
def test_a_signal_is_written_as_the_plan_writes_its_limit(value: float) -> None:
    assert seconds(as_duration(value)) == pytest.approx(value, rel=0.006)


@given(st.integers(1, 1023))
def test_sizes_are_written_as_the_plan_writes_them(number: int) -> None:
    for unit in ("B", "kB", "MB", "GB"):
        written = f"{number}{unit}"
        assert as_size(size(written)) == written


def _failing(key: str) -> str:
    if key == "p":
        raise GivenWrongError("it is over")
    return f"{key} is done"


def test_what_a_key_did_is_told_and_what_none_of_ours_is_does_nothing() -> None:
    hand = Hand(_failing)
    with hand.at_work(5):
        hand.press("x")
        hand.press("+")
        until(lambda: hand.said.endswith("+ is done"), "the key to be done")


def test_a_key_that_fails_says_why_and_what_was_pressed_after_it_is_left_undone() -> None:
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def does(key: str) -> str:
        begun.set()
        go.wait(10)
        done.append(key)
        return _failing(key)

    hand = Hand(does)
    with hand.at_work(10):
        hand.press("p")
        assert begun.wait(10)
        assert hand.said.endswith("pause: no answer yet")
        hand.press("+")
        go.set()
        until(lambda: hand.said.endswith("pause failed: it is over"), "the failure")
        hand.press("r")
        until(lambda: done == ["p", "r"], "the next key to be done")


def test_what_was_pressed_before_the_end_is_done() -> None:
    done: list[str] = []

    def does(key: str) -> str:
        done.append(key)
        return "done"

    hand = Hand(does)
    with hand.at_work(10):
        for key in "+-+":
            hand.press(key)
    assert done == ["+", "-", "+"]
