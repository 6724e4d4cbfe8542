"""Whatever is put into the queue, a worker hears a range of batches in it or nothing at all."""

import json
import pickle
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import dramatiq
import fakeredis
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker import metrics
from worker.broker import Doorbell, doorbell
from worker.message import LONGEST, QUEUE, SPAN

DELAYED = f"{QUEUE}.DQ"
_names = count(1)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_OPTIONS = st.sampled_from(
    [
        "eta",
        "max_retries",
        "on_success",
        "on_failure",
        "pipe_target",
        "retries",
        "traceback",
        "notify_shutdown",
    ]
)


def _honest(first: Any = 3, last: Any = 12, **changes: Any) -> dict[str, Any]:
    """A message as the controller writes it; its name in the queue is put in where it is sent."""
    return {
        "queue_name": QUEUE,
        "actor_name": "work",
        "args": [],
        "kwargs": {"first": first, "last": last},
        "options": {},
        "message_id": "honest",
        "message_timestamp": 1,
        **changes,
    }


@st.composite
def _forged(draw: st.DrawFn) -> bytes | dict[str, Any]:
    """Bytes, or a message that has one thing wrong."""
    told: dict[str, Any] = _honest()
    match draw(st.integers(0, 6)):
        case 0:
            return draw(st.binary(max_size=300))
        case 1:
            return json.dumps(draw(_JSON)).encode()
        case 2:
            del told[draw(st.sampled_from(sorted(told)))]
        case 3:
            wrong = draw(_JSON.filter(lambda value: type(value) is not int))
            told["kwargs"][draw(st.sampled_from(["first", "last"]))] = wrong
        case 4:
            told["kwargs"][draw(st.text(max_size=8).filter(lambda k: k not in {"first", "last"}))] = draw(
                _JSON
            )
        case 5:
            told["options"][draw(_OPTIONS)] = draw(_JSON)
        case 6:
            key = draw(
                st.sampled_from(["queue_name", "actor_name", "args", "kwargs", "options", "message_id"])
            )
            told[key] = draw(_JSON.filter(lambda value: key != "message_id" or not isinstance(value, str)))
            if key in {"args", "options"} and told[key] in ([], {}):
                told[key] = 1
    return told


@pytest.fixture(scope="module")
def bell() -> Iterator[Doorbell]:
    """A doorbell whose queue server is in this process."""
    server = fakeredis.FakeRedis()
    broker = Doorbell(client=server, namespace="forged", middleware=[])  # type: ignore[no-untyped-call]
    broker.declare_queue(QUEUE)
    yield broker
    server.close()


def _put(bell: Doorbell, message: bytes | dict[str, Any], queue: str = QUEUE) -> str:
    """Put a message into a queue, as whoever can reach the server could."""
    name = f"name {next(_names)}"
    if isinstance(message, dict):
        if isinstance(message.get("options"), dict):
            message["options"].setdefault("redis_message_id", name)
        message = json.dumps(message).encode()
    bell.client.hset(f"forged:{queue}.msgs", name, message)
    bell.client.rpush(f"forged:{queue}", name)
    return name


def _heard(bell: Doorbell, queue: str = QUEUE) -> list[Any]:
    """What a worker hears of a queue until it is empty, everything acknowledged."""
    consumer = bell.consume(queue, prefetch=2, timeout=1)
    heard = []
    while bell.client.llen(f"forged:{queue}"):
        message = next(consumer)
        if message is not None:
            consumer.ack(message)
            heard.append((message.actor_name, message.args, message.kwargs, sorted(message.options)))
    return heard


def _left(bell: Doorbell) -> list[bytes]:
    """What the server still keeps, heartbeats aside."""
    return [key for key in bell.client.scan_iter() if b"heartbeat" not in key]


def _refused(during: Callable[[], object]) -> int:
    before = metrics.REFUSED._value.get()
    during()
    return int(metrics.REFUSED._value.get() - before)


@settings(max_examples=2_000)
@given(message=_forged())
@example(message=pickle.dumps(_honest()))
@example(message=b"[" * 500)
@example(message=b'{"queue_name":"batches"' + b" " * LONGEST)
@example(message=b"\xff\xfe{")
@example(message=b"")
@example(message=json.dumps(_honest()).encode().replace(b"12", b"1e1"))
def test_a_forged_message_is_counted_and_leaves_nothing_behind(
    bell: Doorbell, message: bytes | dict[str, Any]
) -> None:
    def sent() -> None:
        _put(bell, message)
        assert _heard(bell) == []

    assert _refused(sent) == 1
    assert _left(bell) == []


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 1),
        (-5, -1),
        (2, 1),
        (1, SPAN + 1),
        (1, 2**63),
        (2**70, 2**70),
        (True, True),
        (1.0, 2.0),
        ("1", "2"),
    ],
)
def test_numbers_that_are_no_range_are_refused(bell: Doorbell, first: Any, last: Any) -> None:
    assert _refused(lambda: _put(bell, _honest(first, last)) and _heard(bell)) == 1


@settings(max_examples=300)
@given(first=st.integers(1, 2**62), span=st.integers(0, SPAN - 1))
def test_a_range_is_heard_and_no_option_with_it(bell: Doorbell, first: int, span: int) -> None:
    _put(bell, _honest(first, first + span))
    assert _heard(bell) == [("work", (), {"first": first, "last": first + span}, ["redis_message_id"])]
    assert _left(bell) == []


def test_nothing_is_heard_of_the_queue_of_delayed_messages(bell: Doorbell) -> None:
    def sent() -> None:
        _put(bell, _honest(queue_name=DELAYED, options={"eta": 0}), DELAYED)
        _put(bell, _honest(), DELAYED)
        assert _heard(bell, DELAYED) == []

    assert _refused(sent) == 2
    assert _left(bell) == []


def test_a_message_under_the_name_of_another_takes_that_one_with_it_nowhere(bell: Doorbell) -> None:
    honest = _put(bell, _honest())
    _put(bell, _honest(options={"redis_message_id": honest}))
    assert [heard[2] for heard in _heard(bell)] == [{"first": 3, "last": 12}]
    assert _left(bell) == []


def test_a_name_without_a_message_is_refused(bell: Doorbell) -> None:
    bell.client.rpush(f"forged:{QUEUE}", "nothing")
    assert _refused(lambda: _heard(bell)) == 1
    assert _left(bell) == []


def test_messages_are_written_as_json_whatever_was_set_before() -> None:
    dramatiq.set_encoder(dramatiq.PickleEncoder())
    try:
        doorbell("redis://127.0.0.1:1", "test").client.close()
        assert isinstance(dramatiq.get_encoder(), dramatiq.JSONEncoder)
    finally:
        dramatiq.set_encoder(dramatiq.JSONEncoder())
