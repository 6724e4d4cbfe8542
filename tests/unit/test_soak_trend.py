"""What `make soak` takes for a leak."""

import random

import pytest

from tests.soak.trend import Allowance, Trend, lines, trends

_SAMPLES = 40


def _trend(values: list[float], allowance: Allowance) -> Trend:
    (found,) = trends([{"a: kB": value} for value in values], {"a: *": allowance, "*": Allowance(None)})
    return found


@pytest.mark.parametrize("step", [1, 7, 10])
def test_what_grows_steadily_leaks_however_long_its_steps(step: int) -> None:
    """One file for each migration, or one for every tenth."""
    assert _trend([nth // step for nth in range(_SAMPLES)], Allowance()).leaks


def test_what_grows_while_all_warms_up_and_then_no_more_is_no_leak() -> None:
    warm = [min(nth, _SAMPLES // 4) * 1_000 for nth in range(_SAMPLES)]
    assert not _trend(list(map(float, warm)), Allowance()).leaks


def test_what_goes_up_and_down_is_no_leak_and_is_one_where_it_grows_beside() -> None:
    chance = random.Random(1)
    noise = [50_000 + chance.uniform(-900, 900) for _ in range(_SAMPLES)]
    assert not _trend(noise, Allowance(1_500)).leaks
    assert _trend([value + 100 * nth for nth, value in enumerate(noise)], Allowance(1_500)).leaks


def test_what_grows_by_design_is_told_and_is_no_leak() -> None:
    found = _trend(list(map(float, range(_SAMPLES))), Allowance(None))
    assert not found.leaks
    head, row = lines([found])
    assert head.split()[0] == "measure"
    assert row.split() == ["a:", "kB", "0", "14", "34", "+20", "by", "design"]


def test_what_comes_later_was_nothing_before() -> None:
    found = trends([{}] * 30 + [{"keys, forgotten": 1.0}] * 10, {"*": Allowance()})
    assert [(trend.measure, trend.leaks) for trend in found] == [("keys, forgotten", True)]
