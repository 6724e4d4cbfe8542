"""Hours in which batches may go, as a plan says them and as the clocks on the wall read."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control.plan.reading import read_plan
from sql.errors import PlanError
from worker.governor.window import closed, parse

_ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia")
_DAYS = ("", "Mon-Fri ", "Sat,Sun ", "Fri-Mon ", "Wed ", "Sun ")
#: Two years with clocks put forward and back in both halves of the world.
_TIMES = st.datetimes(datetime(2025, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
_MINUTES = st.integers(0, 24 * 60 - 1)
_PLAN = """
name = "hours"
[database]
url = "postgresql://localhost/x"
[[tables]]
name = "t"
tenant = { constant = "a" }
[backfill]
"""


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@st.composite
def _texts(draw: st.DrawFn) -> str:
    opens, closes = draw(_MINUTES), draw(_MINUTES)
    days, zone = draw(st.sampled_from(_DAYS)), draw(st.sampled_from(_ZONES))
    return f"{days}{_clock(opens)}-{_clock(closes if closes != opens else 24 * 60)} {zone}"


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "at", "is_open"),
    [
        ("22:00-06:00 Europe/Berlin", "2026-01-15T21:00+00:00", True),
        ("22:00-06:00 Europe/Berlin", "2026-01-15T20:59+00:00", False),
        ("22:00-06:00 Europe/Berlin", "2026-07-15T20:00+00:00", True),  # summer time
        ("22:00-06:00 Europe/Berlin", "2026-07-15T04:00+00:00", False),
        ("Mon-Fri 20:00-06:00 UTC", "2026-01-16T23:00+00:00", True),  # a Friday
        ("Mon-Fri 20:00-06:00 UTC", "2026-01-17T05:59+00:00", True),  # Friday's, on Saturday
        ("Mon-Fri 20:00-06:00 UTC", "2026-01-17T20:00+00:00", False),
        ("Mon-Fri 20:00-06:00 UTC", "2026-01-19T05:00+00:00", False),  # Sunday's would be, on Monday
        ("Sat,Sun 00:00-24:00 UTC", "2026-01-17T23:59+00:00", True),
        ("Sat,Sun 00:00-24:00 UTC", "2026-01-19T00:00+00:00", False),
        ("Fri-Mon 10:00-11:00 UTC", "2026-01-18T10:30+00:00", True),
        ("Fri-Mon 10:00-11:00 UTC", "2026-01-20T10:30+00:00", False),
        # Clocks put forward at 01:00 UTC: what the clock does not read does not come.
        ("02:00-02:30 Europe/Berlin", "2026-03-29T01:00+00:00", False),
        ("02:30-04:00 Europe/Berlin", "2026-03-29T01:00+00:00", True),
        # Put back at 01:00 UTC: what it reads twice comes twice.
        ("02:00-02:30 Europe/Berlin", "2026-10-25T00:10+00:00", True),
        ("02:00-02:30 Europe/Berlin", "2026-10-25T00:40+00:00", False),
        ("02:00-02:30 Europe/Berlin", "2026-10-25T01:10+00:00", True),
    ],
)
def test_a_window_is_open_when_the_clock_on_its_wall_reads_so(text: str, at: str, is_open: bool) -> None:  # noqa: FBT001
    assert parse(text).is_open(_at(at)) is is_open


@given(_texts(), _TIMES)
@example("02:15-02:30 Europe/Berlin", _at("2026-10-25T00:45+00:00"))
@example("01:30-02:30 Europe/Berlin", _at("2026-10-25T00:45+00:00"))
@example("02:15-04:00 Europe/Berlin", _at("2026-03-29T00:30+00:00"))
@example("Sun 02:00-02:30 Europe/Berlin", _at("2026-03-29T00:00+00:00"))
def test_a_closed_window_stays_closed_until_the_time_that_it_tells_and_is_open_then(
    text: str, at: datetime
) -> None:
    window = parse(text)
    if window.is_open(at):
        return
    opens = window.opens_after(at)
    assert opens is not None
    assert opens > at
    assert window.is_open(opens)
    minutes = int((opens - at) / timedelta(minutes=1))
    assert not any(window.is_open(at + timedelta(minutes=minute)) for minute in range(0, minutes, 7))
    assert not window.is_open(opens - timedelta(seconds=1))


@given(_texts(), st.integers(0, 6), st.integers(0, 23))
def test_without_a_change_of_clocks_a_window_is_open_for_its_length_a_day(
    text: str, day: int, hour: int
) -> None:
    window = parse(text.replace(text.rsplit(maxsplit=1)[-1], "UTC"))
    begin = datetime(2026, 6, 1, hour, tzinfo=UTC) + timedelta(days=day)
    week = [window.is_open(begin + timedelta(minutes=minute)) for minute in range(7 * 24 * 60)]
    length = (window.closes - window.opens) % (24 * 60) or 24 * 60
    assert sum(week) == length * len(window.days)


def test_any_open_window_lets_batches_go() -> None:
    at = _at("2026-01-17T12:00+00:00").timestamp()
    assert closed(["22:00-06:00 UTC", "Sat,Sun 00:00-24:00 UTC"], at) is None


def test_no_window_means_all_hours() -> None:
    assert closed([], 0.0) is None


def test_outside_the_hours_the_reason_says_when_the_next_window_opens() -> None:
    at = _at("2026-01-14T12:00+00:00").timestamp()
    told = closed(["Sat,Sun 00:00-24:00 UTC", "22:00-06:00 Europe/Berlin"], at)
    assert told == "outside the hours of the plan: they open Wed 14 Jan, 22:00 Europe/Berlin"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("22-06 UTC", "'22-06 UTC' is not a window of hours"),
        ("22:00-06:00", "is not a window of hours"),
        ("Fry 22:00-06:00 UTC", "'Fry' is no weekday; they are Mon, Tue"),
        ("Mon- 22:00-06:00 UTC", "'' is no weekday"),
        ("22:60-06:00 UTC", "22:60 is no time of the day"),
        ("22:00-24:01 UTC", "24:01 is no time of the day"),
        ("24:00-06:00 UTC", "opens at the end of a day"),
        ("22:00-22:00 UTC", "ends as it begins"),
        ("22:00-06:00 Europe/Berln", "'Europe/Berln' is no time zone that this host knows"),
        ("22:00-06:00 Europe", "'Europe' is no time zone"),
        ("22:00-06:00 ../UTC", "'../UTC' is no time zone"),
    ],
)
def test_a_wrong_window_is_an_error_of_the_plan_that_names_its_line(
    tmp_path: Path, text: str, wrong: str
) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(f'{_PLAN}active = [\n  "00:00-24:00 UTC",\n  "{text}",\n]\n')
    with pytest.raises(PlanError) as error:
        read_plan(file)
    assert wrong in str(error.value)
    assert error.value.line == 11


def test_a_plan_may_say_one_window_without_a_list(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(f'{_PLAN}active = "22:00-06:00 Europe/Berlin"\n')
    assert read_plan(file).backfill.active == ("22:00-06:00 Europe/Berlin",)
