"""The queue carries a range of batch numbers and nothing else."""

import json

import fakeredis
import pytest

from worker.broker import Doorbell
from worker.message import QUEUE


@pytest.fixture
def bell() -> Doorbell:
    broker = Doorbell(client=fakeredis.FakeRedis(), namespace="test", middleware=[])  # type: ignore[no-untyped-call]  # dramatiq has no types here
    broker.declare_queue(QUEUE)
    return broker


def test_a_message_names_two_numbers(bell: Doorbell) -> None:
    bell.ring(3, 12)
    (message,) = bell.client.hgetall(f"test:{QUEUE}.msgs").values()
    told = json.loads(message)
    assert (told["args"], told["kwargs"]) == ([], {"first": 3, "last": 12})


def test_messages_that_nobody_took_are_counted(bell: Doorbell) -> None:
    assert bell.waiting() == 0
    bell.ring(1, 1)
    bell.ring(2, 2)
    assert bell.waiting() == 2


def test_a_message_that_a_worker_took_and_died_with_is_not_waiting(bell: Doorbell) -> None:
    bell.ring(1, 1)
    assert next(bell.consume(QUEUE)) is not None
    assert bell.waiting() == 0


def test_a_flushed_queue_is_empty_and_takes_messages_again(bell: Doorbell) -> None:
    bell.ring(1, 1)
    bell.client.flushall()
    assert bell.waiting() == 0
    bell.ring(1, 1)
    assert bell.waiting() == 1


def test_nothing_of_a_queue_that_nobody_rings_in_any_more_stays_for_ever(bell: Doorbell) -> None:
    """Not the names of those who rang and of a worker that died either, which dramatiq keeps."""
    bell.ring(1, 1)
    bell.ring(2, 2)
    assert next(bell.consume(QUEUE)) is not None
    kept = bell.client.keys()
    assert len(kept) == 4
    assert all(0 < bell.client.ttl(key) <= 86_400 for key in kept)
