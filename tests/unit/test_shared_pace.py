"""What all workers share: a sample, turns, a budget of rows; on a Redis that is a fake."""

import pickle
import time

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.governing import CALM
from worker.governor.history import History
from worker.governor.shared import ADVANCE_LASTS, Posted, Shared, format_of


@pytest.fixture
def shared(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> Shared:
    """Its server's clock stands still: on a busy machine a test's own time pays for rows."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    return shared


def _ask(shared: Shared, who: str, rate: float) -> float:
    return shared.ask(who, None, sampling=False, rate=rate).wait


def test_only_one_worker_samples_at_a_time(shared: Shared) -> None:
    turns = [shared.ask(who, None, sampling=True, rate=None).turn for who in "abc"]
    assert turns == [True, False, False]


def test_a_posted_sample_is_news_to_everybody_who_does_not_know_it(shared: Shared) -> None:
    posted = Posted(sample=CALM, share=0.5, at=shared.ask("a", None, sampling=True, rate=None).now)
    shared.post(posted, History(written=((1.0, 2.0),)))
    told = shared.ask("b", None, sampling=True, rate=None)
    assert (told.news, told.posted) == (True, posted)
    again = shared.ask("b", told.posted, sampling=True, rate=None)
    assert (again.news, again.posted) == (False, posted)
    assert shared.past() == (History(written=((1.0, 2.0),)), 0)


def test_a_turn_to_sample_comes_again_after_the_clock_was_put_back(shared: Shared) -> None:
    shared.ask("a", None, sampling=True, rate=None)
    (key,) = shared.client.keys("test:governor:sampler:*")
    shared.client.set(key, f"{shared.ask('a', None, sampling=True, rate=None).now + 3600:.6f}")
    assert shared.ask("b", None, sampling=True, rate=None).turn


@pytest.mark.parametrize(
    "forged",
    [b"", b"{", b"\xff\xff", b"[" * 100_000, b'{"share": 0}', b'{"share": NaN}', pickle.dumps({"share": 1})],
    ids=["nothing", "no JSON", "no text", "deep", "nothing of ours", "not a number", "a pickle"],
)
def test_what_somebody_else_keeps_in_the_place_of_a_sample_is_none_and_is_written_over(
    shared: Shared, forged: bytes
) -> None:
    posted = Posted(sample=CALM, share=0.5, at=shared.ask("a", None, sampling=True, rate=None).now)
    shared.post(posted, History())
    (key,) = shared.client.keys("test:governor:sample:*")
    shared.client.hset(key, mapping={"at": b"\xff", "posted": forged, "history": forged})
    shared.client.hset("test:governor:budget", "paid", forged)
    answer = shared.ask("b", posted, sampling=True, rate=None)
    assert (answer.news, answer.posted) == (False, posted), "no news, or it would be asked for without end"
    history, paid = shared.past()
    assert (history in {None, History()}, paid) == (True, 0)
    shared.post(posted, History())
    assert shared.ask("b", None, sampling=True, rate=None).posted == posted


def test_who_has_had_its_turn_asks_without_taking_another(shared: Shared) -> None:
    assert not shared.ask("a", None, sampling=True, rate=None, turn=False).turn
    assert shared.ask("b", None, sampling=True, rate=None).turn


def test_workers_that_post_otherwise_do_not_read_one_another() -> None:
    class PostedTomorrow(Posted):
        more: float

    assert format_of(Posted) != format_of(PostedTomorrow)


def test_a_flush_is_news_too(shared: Shared) -> None:
    posted = Posted(sample=CALM, share=0.5, at=1.0)
    shared.post(posted, History())
    shared.client.flushall()
    told = shared.ask("b", posted, sampling=True, rate=None)
    assert (told.news, told.posted, told.turn) == (True, None, True)


def test_nobody_pays_before_having_looked_at_what_is_posted(shared: Shared) -> None:
    shared.post(Posted(sample=CALM, share=0.5, at=1.0), History())
    assert shared.ask("a", None, sampling=True, rate=10.0).news
    assert shared.client.exists("test:governor:budget") == 0


def test_rows_are_paid_for_with_time(shared: Shared) -> None:
    assert _ask(shared, "a", 1_000) == 0
    shared.settle("a", 2_000)
    assert _ask(shared, "a", 1_000) == 2.0


def test_the_budget_is_one_for_all_workers(shared: Shared) -> None:
    for who in "ab":
        shared.ask(who, None, sampling=False, rate=1_000)
        shared.settle(who, 1_000)
    assert _ask(Shared(shared.client, "test"), "c", 1_000) == 2.0


def test_of_many_workers_that_see_the_debt_gone_only_as_many_begin_as_the_budget_pays_for(
    shared: Shared,
) -> None:
    _ask(shared, "a", 1_000)
    shared.settle("a", 500)
    shared.client.hset("test:governor:budget", "rows", 0)
    assert sum(_ask(shared, who, 1_000) == 0 for who in "abcdefgh") == 1


def test_what_no_batch_has_told_yet_is_paid_for_with_a_second_s_worth(shared: Shared) -> None:
    assert [_ask(shared, who, 1_000) == 0 for who in "ab"] == [True, False]


def test_a_batch_that_came_to_nothing_costs_nothing(shared: Shared) -> None:
    _ask(shared, "a", 1_000)
    shared.settle("a", 0)
    assert _ask(shared, "b", 1_000) == 0


def test_a_worker_that_asks_again_has_its_own_advance_back(shared: Shared) -> None:
    assert [_ask(shared, "a", 1_000) for _ in range(5)] == [0] * 5


def test_a_killed_worker_s_advance_goes_back_into_the_budget(shared: Shared) -> None:
    _ask(shared, "killed", 10)
    assert _ask(shared, "b", 10) > 0
    long_ago = shared.ask("b", None, sampling=False, rate=None).now - ADVANCE_LASTS - 1
    shared.client.hset("test:governor:advances", "killed", f"10 {long_ago}")
    assert _ask(shared, "b", 10) == 0
    assert shared.client.hkeys("test:governor:advances") == [b"b"]


def test_who_settles_an_advance_that_went_back_pays_for_all_of_it(shared: Shared) -> None:
    _ask(shared, "slow", 1_000)
    shared.client.delete("test:governor:advances")
    shared.client.hset("test:governor:budget", "rows", 0)
    shared.settle("slow", 700)
    assert shared.client.hget("test:governor:budget", "rows") in {b"-700", b"-700.0"}


@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 5_000)), min_size=1, max_size=60),
    st.integers(1, 50_000),
)
def test_no_more_is_done_than_the_rate_allows_and_one_batch(
    batches: list[tuple[str, int]], rate: int
) -> None:
    """Whoever asks in whatever order: what began while the budget was in debt is nothing."""
    with fakeredis.FakeRedis() as client:
        shared = Shared(client, "test")
        begun = shared.ask("z", None, sampling=False, rate=None).now
        done = 0
        for who, rows in batches:
            answer = shared.ask(who, None, sampling=False, rate=float(rate))
            if answer.wait == 0:
                shared.settle(who, rows)
                done += rows
        elapsed = shared.ask("z", None, sampling=False, rate=None).now - begun
        client.flushall()
    assert done <= rate * (elapsed + 0.25) + max(rows for _, rows in batches) + 1
