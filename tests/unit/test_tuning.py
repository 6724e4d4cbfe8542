"""Keys that may be tuned: what a value means, what is refused, and how a plan is with them."""

from typing import Any

import pytest

from control import tuning
from control.conductor import settings_of
from control.plan.model import Plan
from sql.errors import GivenWrongError

PLAN = Plan.model_validate(
    {
        "name": "m",
        "database": {"url": "postgresql://u:hunter2@h/d"},
        "tables": [{"name": "t", "tenant": {"constant": "a"}}],
        "governor": {"rows_per_second": 5_000, "max_lag": "2s"},
    }
)


def _tuned(*arguments: str) -> dict[str, Any]:
    return tuning.changed({}, tuning.read(arguments))


@pytest.mark.parametrize(
    ("argument", "kept"),
    [
        ("max_lag=3s", "3s"),
        ("max_lag=none", "none"),
        ("max_waiting=4", 4),
        ("max_dead=0.5", 0.5),
        ("rows_per_second=20000", 20_000),
        ("rows_per_second=none", None),
        ("wal_per_second=8MB", "8MB"),
        ("unreadable=hold", "hold"),
        ("query=SELECT 1 = 1", "SELECT 1 = 1"),
        ("target = 50ms", "50ms"),
        ("synchronous_commit=off", "off"),
        ("active=22:00-06:00 Europe/Berlin", ["22:00-06:00 Europe/Berlin"]),
        ('active=["22:00-06:00 UTC", "Sat 10:00-12:00 UTC"]', ["22:00-06:00 UTC", "Sat 10:00-12:00 UTC"]),
        ("active=[]", []),
        ("active=Mon,Wed 20:00-06:00 UTC", ["Mon,Wed 20:00-06:00 UTC"]),
        ("active=all hours", []),
        ("forget_standbys=a", ["a"]),
        ("forget_standbys=a, b,", ["a", "b"]),
        ('forget_standbys=["a,b"]', ["a,b"]),
        ("forget_standbys=none", []),
        ("target=1ms", "1ms"),
        ("target=10s", "10s"),
        ("workers=0", 0),
    ],
)
def test_a_value_is_read_as_the_plan_would(argument: str, kept: object) -> None:
    (value,) = _tuned(argument).values()
    assert (value, type(value)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("max_lagg=3s", "no key 'max_lagg' to tune; did you mean 'max_lag'?"),
        ("paging=keys", "no key 'paging' to tune; they are max_lag, "),
        ("max_lag", "max_lag: write max_lag=VALUE, or max_lag= for the plan's own"),
        ("max_lag=3", "max_lag: '3' is not a duration; write 100ms"),
        ("max_waiting=-1", "max_waiting: '-1' is no limit"),
        ("max_dead=nan", "max_dead: 'nan' is no limit"),
        ("max_query=1e400", "max_query: '1e400' is no limit"),
        (f"max_query=1{'0' * 400}", "max_query: '1000"),
        (f"max_query=1{'0' * 5000}", "max_query: '1000"),
        (f"max_lag=1{'0' * 400}s", "max_lag: '1000"),
        (f"wal_per_second=1{'0' * 400}", "wal_per_second: '1000"),
        ("max_waiting=true", "max_waiting: 'true' is no limit"),
        ("stop_lag=0s", "stop_lag: '0s' is no limit; write a duration above 0"),
        ("target=0s", "target: '0s' is nothing to cut batches to; write a duration from 1ms to 10s"),
        ("target=1d", "target: '1d' is nothing to cut batches to; write a duration from 1ms to 10s"),
        ("query=SELECT '\udcff'", "query: a text holds U+0000 or what is no UTF-8"),
        ("query=SELECT '\0'", "query: a text holds U+0000 or what is no UTF-8"),
        ("rows_per_second=fast", "rows_per_second: input should be a valid integer"),
        ("rows_per_second=0", "rows_per_second: input should be greater than 0"),
        ("unreadable=perhaps", "unreadable: input should be 'hold' or 'ignore'"),
        ("workers=65", "workers: input should be less than or equal to 64"),
    ],
)
def test_what_a_key_cannot_have_is_refused_with_what_it_can(argument: str, complaint: str) -> None:
    with pytest.raises(GivenWrongError) as refused:
        _tuned(argument)
    assert str(refused.value).startswith(complaint)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(GivenWrongError, match="max_lag is given twice"):
        tuning.read(["max_lag=1s", "max_lag=2s"])


def test_a_stop_below_its_limit_is_refused_with_a_way_out_and_no_address() -> None:
    with pytest.raises(
        GivenWrongError, match=r"stop_lag is below max_lag.*gives the plan's own back"
    ) as refused:
        tuning.applied(PLAN, _tuned("max_lag=10s"))
    assert "hunter2" not in str(refused.value)


def test_what_is_tuned_wins_over_the_plan_and_an_empty_value_gives_the_plans_own_back() -> None:
    tuned = _tuned("rows_per_second=none", "max_lag=4s", "target=50ms", "workers=3")
    settings = settings_of(PLAN, throttle=True, tuned=tuned)
    assert (settings.rows_per_second, settings.target, settings.workers) == (None, 0.05, 3)
    assert settings.limits["lag"].max == 4
    left = tuning.changed(tuned, tuning.read([f"{key}=" for key in tuned]))
    assert settings_of(PLAN, throttle=True, tuned=left) == settings_of(PLAN, throttle=True)


def test_every_part_of_the_plan_but_what_is_tuned_stays_as_it_is() -> None:
    assert tuning.applied(PLAN, {}) == PLAN


@pytest.mark.parametrize(("key", "shown"), [("active", "all hours"), ("forget_standbys", "none")])
def test_a_list_with_nothing_in_it_is_shown_as_what_it_means(key: str, shown: str) -> None:
    assert tuning.told(key, []) == shown


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_standbys_are_read_as_they_are_shown(names: list[str]) -> None:
    shown = tuning.told("forget_standbys", names)
    assert _tuned(f"forget_standbys={shown}") == {"forget_standbys": names}
