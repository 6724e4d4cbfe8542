"""What was seen before, and what a look means by it: lag as time, standbys that vanished, the rate of WAL."""

from hypothesis import given
from hypothesis import strategies as st

from worker.governor.history import History
from worker.governor.limits import Limit, Sample
from worker.governor.signals import Look, Standby
from worker.ledger import Settings

SETTINGS = Settings(
    target=0.1,
    synchronous_commit="on",
    throttle=True,
    limits={"lag": Limit(max=1.5, stop=5), "lag_bytes": Limit(max=64, stop=512)},
)


def look(written: float, *streaming: tuple[str, int, float], timeline: int = 1) -> Look:
    standbys = tuple(Standby(*standby) for standby in streaming)
    return Look(Sample(), written, standbys, others=True, timeline=timeline)


def told(*looks: tuple[float, Look], settings: Settings = SETTINGS) -> Sample:
    """What the last of these looks, each at its time, means after the others."""
    history = History()
    for now, seen in looks:
        history = History.model_validate_json(history.and_now(seen, now).model_dump_json())
    return history.sample(looks[-1][1], looks[-1][0], settings)


def test_lag_in_time_counts_while_nothing_is_written() -> None:
    written = [(float(second), look(100.0 if second < 2 else 200.0, ("a", 1, 100.0))) for second in range(9)]
    assert told(*written).values["lag"] == 6.0


def test_a_standby_that_has_replayed_everything_is_not_behind() -> None:
    assert told((0, look(100, ("a", 1, 100))), (9, look(200, ("a", 1, 200)))).values["lag"] == 0


def test_a_database_without_standbys_has_no_lag() -> None:
    assert {"lag", "lag_bytes"}.isdisjoint(told((0, look(100))).values)


def test_the_slowest_standby_counts() -> None:
    sample = told((0, look(100)), (1, look(200)), (3, look(200, ("quick", 1, 200), ("slow", 2, 50))))
    assert (sample.values["lag"], sample.values["lag_bytes"], sample.details["lag"]) == (3, 150, "slow")


def test_a_standby_that_vanished_is_behind_from_where_it_was() -> None:
    sample = told((0, look(100, ("a", 1, 100))), (1, look(200)), (4, look(300)))
    assert (sample.values["lag"], sample.values["lag_bytes"]) == (3, 200)
    assert sample.details["lag"] == sample.details["lag_bytes"] == "a, not streaming"


def test_a_standby_that_comes_back_is_the_one_that_vanished() -> None:
    sample = told((0, look(100, ("a", 1, 100))), (1, look(200)), (4, look(200, ("a", 2, 200))))
    assert (sample.values["lag"], sample.details["lag"]) == (0, "a")


def test_a_process_id_that_another_standby_is_given_takes_neither_of_them_for_gone() -> None:
    sample = told(
        (0, look(100, ("a", 31, 100), ("b", 32, 100))),
        (1, look(100, ("b", 31, 100))),
        (2, look(200, ("b", 31, 200), ("a", 33, 200))),
        (60, look(300, ("b", 31, 300), ("a", 33, 300))),
        settings=SETTINGS.model_copy(update={"standbys": ("a", "b")}),
    )
    assert sample.values["lag"] == 0


def test_a_new_standby_with_the_process_id_of_one_that_vanished_does_not_hide_it() -> None:
    sample = told(
        (0, look(100, ("a", 31, 100))), (1, look(200, ("c", 31, 200))), (60, look(300, ("c", 31, 300)))
    )
    assert sample.details["lag"] == "a, not streaming"
    assert sample.values["lag"] > 0


def test_a_standby_that_is_gone_and_ahead_of_a_server_that_was_failed_over_to_is_past_its_stop() -> None:
    sample = told(
        (0, look(200, ("a", 1, 150), ("b", 2, 200))),
        (1, look(160)),
        (30, look(190)),
        settings=SETTINGS.model_copy(update={"forget_standbys": ("a",)}),
    )
    assert (sample.values["lag"], sample.values["lag_bytes"]) == (5, 512)


def test_of_two_standbys_with_one_name_the_one_that_vanished_is_missed() -> None:
    both = look(100, ("walreceiver", 1, 100), ("walreceiver", 2, 90))
    sample = told((0, both), (1, look(200, ("walreceiver", 1, 200))))
    assert (sample.values["lag_bytes"], sample.details["lag_bytes"]) == (110, "walreceiver, not streaming")


def test_of_two_standbys_with_one_name_one_comes_back_while_the_other_stays_away() -> None:
    both = look(100, ("walreceiver", 1, 100), ("walreceiver", 2, 90))
    sample = told((0, both), (1, look(200)), (2, look(200, ("walreceiver", 3, 200))))
    assert sample.details["lag"] == "walreceiver, not streaming"
    sample = told((0, both), (1, look(200)), (2, look(200, ("walreceiver", 3, 200), ("walreceiver", 4, 200))))
    assert sample.values["lag"] == 0


def test_a_standby_of_the_runs_beginning_that_was_never_seen_is_past_its_stop() -> None:
    settings = SETTINGS.model_copy(update={"standbys": ("a", "walreceiver", "walreceiver")})
    seen = look(100, ("a", 1, 100), ("walreceiver", 2, 100))
    sample = told((0, seen), settings=settings)
    assert (sample.values["lag"], sample.values["lag_bytes"]) == (5, 512)
    assert sample.details["lag"] == "walreceiver, not streaming"


def test_a_standby_that_was_taken_away_for_good_is_no_lag_and_counts_again_once_it_streams() -> None:
    settings = SETTINGS.model_copy(update={"standbys": ("a", "b"), "forget_standbys": ("a", "b")})
    gone = ((0, look(100, ("a", 1, 100))), (1, look(200)))
    assert "lag" not in told(*gone, settings=settings).values
    assert told(*gone, (2, look(200, ("a", 2, 150))), settings=settings).values["lag_bytes"] == 50


def test_where_standbys_may_not_be_seen_lag_is_not_told_and_nobody_is_missed_afterwards() -> None:
    hidden = Look(Sample(unreadable={"lag": "no right"}), 200, (), others=True, timeline=1)
    seen = (0, look(100, ("a", 1, 100)))
    assert "lag" not in told(seen, (1, hidden)).values
    assert told(seen, (1, hidden), (2, look(200, ("a", 1, 200)))).values["lag"] == 0


def test_a_server_that_was_failed_over_to_may_be_behind_the_one_before() -> None:
    sample = told((0, look(900)), (1, look(1000)), (2, look(500)), (4, look(600, ("a", 1, 550))))
    assert (sample.values["lag"], sample.values["lag_bytes"]) == (0, 50)


def test_the_standby_that_became_the_primary_is_not_missed() -> None:
    settings = SETTINGS.model_copy(update={"standbys": ("a",), "timeline": 1})
    before = (0, look(100, ("a", 1, 100)))
    assert "lag" not in told(before, (1, look(200, timeline=2)), settings=settings).values
    # Nor where the queue server was flushed meanwhile; but it is where nobody was promoted.
    assert "lag" not in told((1, look(200, timeline=2)), settings=settings).values
    assert told(before, (9, look(200)), settings=settings).details["lag"] == "a, not streaming"


def test_a_standby_that_does_not_follow_the_one_that_became_the_primary_is_missed_until_it_does() -> None:
    settings = SETTINGS.model_copy(update={"standbys": ("a", "b"), "timeline": 1})
    looks = [(0, look(100, ("a", 1, 100), ("b", 2, 100))), (9, look(200, timeline=2))]
    assert "not streaming" in told(*looks, settings=settings).details["lag"]
    looks.append((10, look(200, ("b", 3, 200), timeline=2)))
    assert told(*looks, settings=settings).values["lag"] == 0
    # The one failover accounts for `a`: `b` is missed when it goes now.
    looks.append((60, look(300, timeline=2)))
    assert told(*looks, settings=settings).details["lag"] == "b, not streaming"


def test_the_rate_of_wal_is_the_mean_of_some_seconds() -> None:
    steps = [(float(second), look(1000.0 * second if second < 6 else 6000.0)) for second in range(12)]
    assert "wal_rate" not in told(*steps[:3]).values
    assert told(*steps[:7]).values["wal_rate"] == 1000
    assert told(*steps[:10]).values["wal_rate"] == 400
    assert told(*steps).values["wal_rate"] == 0


@given(st.lists(st.floats(0.2, 20), min_size=1, max_size=1500))
def test_lag_stays_right_to_a_few_hundredths_while_the_history_stays_small(gaps: list[float]) -> None:
    history, now, began = History(), 0.0, gaps[0]
    for count, gap in enumerate(gaps, start=1):
        now += gap
        history = history.and_now(look(count), now)
    # Nothing of what was written is replayed.
    lag = history.behind(0, now)
    assert lag <= now - began
    assert lag >= (now - began) * 0.95 - 1
    assert len(history.written) < 400
