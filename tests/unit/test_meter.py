"""The figures of the demo's application."""

from control.demo.messages import Failure
from control.demo.meter import Meter


def test_an_operation_under_way_counts_as_a_stall_before_it_ends() -> None:
    meter = Meter(connections=2)
    meter.begin(0)
    report = meter.report("old")
    assert report.operations == 0
    assert report.interval_worst_ms == report.worst_ms > 0


def test_the_worst_since_the_start_outlives_the_interval_it_fell_into() -> None:
    meter = Meter(connections=1)
    meter.begin(0)
    meter.end(0, "read_entity")
    worst = meter.report("old").worst_ms
    later = meter.report("new")
    assert later.interval_worst_ms == 0
    assert later.worst_ms == worst


def test_errors_and_two_key_retries_are_counted_apart() -> None:
    meter = Meter(connections=1)
    meter.retried()
    meter.failed(Failure(sqlstate="40P01", message="deadlock detected"))
    report = meter.report("old", final=True)
    assert (report.errors, report.two_key_retries) == (1, 1)
    assert report.last_error == Failure(sqlstate="40P01", message="deadlock detected")
