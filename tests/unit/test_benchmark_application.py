"""The benchmark's application: what was due is done, and counted from when it was due."""

import itertools
import math
import time

import pytest

from tests.benchmarks.application import Felt, Operation, Schedule, paced
from tests.benchmarks.fallen_behind import behind


def _felt(*latencies: float) -> Felt:
    return Felt(tuple(Operation(float(due), latency) for due, latency in enumerate(latencies)))


def test_an_operation_that_waits_behind_a_stall_counts_from_when_it_was_due() -> None:
    now = 1_000.0
    stalls = iter([0.5])  # the first takes half a second, in which four more fall due

    def send() -> None:
        nonlocal now
        now += next(stalls, 0.0)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tests.benchmarks.application.time.monotonic", lambda: now)
        done = list(paced(Schedule(10, 1_000.0), lambda: 1_000.45, lambda _: None, send))
    assert [operation.due for operation in done] == pytest.approx(
        [1_000.0, 1_000.1, 1_000.2, 1_000.3, 1_000.4]
    )
    assert [operation.latency for operation in done] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])


def test_nothing_is_sent_before_it_is_due() -> None:
    now = 0.0

    def rest(seconds: float) -> None:
        nonlocal now
        now += seconds / 2  # woken early, again and again

    sent: list[float] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            "tests.benchmarks.application.time.monotonic", lambda: math.floor(now * 1e6 + 0.5) / 1e6
        )
        list(paced(Schedule(4, 0.0), lambda: 0.6, rest, lambda: sent.append(now)))
    assert sent == pytest.approx([0.0, 0.25, 0.5], abs=1e-5)


def test_the_percentile_is_a_latency_that_was_measured_and_the_longest_stall_the_highest() -> None:
    felt = _felt(*[0.001] * 98, 0.2, 0.3)
    assert (felt.percentile(0.5), felt.percentile(0.99), felt.longest) == (0.001, 0.2, 0.3)


def test_what_was_felt_in_a_time_is_what_was_due_in_it_however_late_it_ended() -> None:
    assert _felt(0.1, 9.0, 0.1).between(1, 2).longest == 9.0
    with pytest.raises(AssertionError, match="nothing to do"):
        _felt(0.1).between(5, 6)


def test_an_error_is_counted_with_its_operation() -> None:
    felt = Felt((Operation(0.0, 0.1), Operation(1.0, 0.1, "40P01: deadlock detected")))
    assert felt.errors == ("40P01: deadlock detected",)


def test_a_standby_is_behind_since_the_first_position_that_it_has_not_replayed() -> None:
    positions, times = [10.0, 20.0, 20.0, 30.0], [1.0, 2.0, 3.0, 4.0]
    assert [behind(positions, times, replayed) for replayed in (5.0, 10.0, 20.0, 30.0)] == [
        3.0,
        2.0,
        0.0,
        0.0,
    ]


def test_operations_are_due_at_the_schedules_own_times_whoever_takes_them() -> None:
    schedule = Schedule(200, time.monotonic())
    taken = [schedule.take() for _ in range(3)]
    assert [late - early for early, late in itertools.pairwise(taken)] == pytest.approx([0.005] * 2)
