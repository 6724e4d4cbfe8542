"""With forged messages among the controller's own, workers fill every row once, and the backfill ends."""

import json
import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, cycle
from typing import TYPE_CHECKING

import psycopg

from control.embedded.valkey import EmbeddedValkey
from control.queue import namespace_of
from tests.conftest import SAMPLE_ENTITIES, SAMPLE_RELATIONS
from tests.integration.backfilling import backfilling, count_updates, plan_of, updates_per_row
from worker.message import QUEUE

if TYPE_CHECKING:
    from redis import Redis

_EXACTLY_ONCE = [
    ("graph_entities", SAMPLE_ENTITIES, 1, 1),
    ("graph_relations", SAMPLE_RELATIONS, 1, 1),
]
#: At least so many are put in while the backfill goes on.
_FORGED = 2_000


class _Evil:
    """A pickle that says when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('os')._exit(66)",)


def _forgeries(name: str) -> Iterator[bytes]:
    """Messages with something wrong, and ranges that the controller did not write."""

    def told(first: object = 1, last: object = 5, **changes: object) -> bytes:
        message = {
            "queue_name": QUEUE,
            "actor_name": "work",
            "args": [],
            "kwargs": {"first": first, "last": last},
            "options": {"redis_message_id": name},
            "message_id": name,
            "message_timestamp": 1,
        }
        return json.dumps(message | changes).encode()

    options = {"redis_message_id": name}
    yield pickle.dumps(_Evil())
    yield b"\xff\xff" * 40
    yield b"{" * 5_000
    yield b"x" * 2_000_000
    yield told(True, 5)
    yield told(1, 10**9)
    yield told(5, 1)
    yield told("1", "5; DROP TABLE graph_entities")
    yield told(actor_name="no_such")
    yield told(queue_name="another")
    yield told(args=[1, 5])
    yield told(options=options | {"eta": 0})
    yield told(options=options | {"max_retries": 9, "on_success": "work", "pipe_target": json.loads(told())})
    yield told(options=7)
    # These are ranges: of batches that are done, at work, somebody else's, or not there.
    yield told(1, 64)
    yield told(30, 40)
    yield told(10**15, 10**15 + 9)


@contextmanager
def _forging(client: "Redis", space: str) -> Iterator[threading.Thread]:
    """Put forged messages into both queues of a namespace, some before each look of a worker."""
    ended, names = threading.Event(), count(1)

    def forge() -> None:
        for number, queue in zip(names, cycle((QUEUE, QUEUE, f"{QUEUE}.DQ", "another")), strict=False):
            for message in _forgeries(f"forged {number}"):
                client.hset(f"{space}:queue:{queue}.msgs", f"forged {number}", message)
                client.lpush(f"{space}:queue:{queue}", f"forged {number}")
                number = next(names)  # noqa: PLW2901  # each has a name of its own
            if number > _FORGED and ended.wait(0.02):
                return

    thread = threading.Thread(target=forge)
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join()


def test_forged_messages_do_nothing_and_keep_nobody_from_their_work(
    sample: str, connection: psycopg.Connection, valkey: EmbeddedValkey
) -> None:
    count_updates(connection)
    plan = plan_of(sample)
    with (
        backfilling(plan, valkey.url) as running,
        _forging(running.queue, namespace_of(plan)),
    ):
        running.end()
        assert running.pool.statuses() == [None, None], "no worker died of it"
    assert updates_per_row(connection) == _EXACTLY_ONCE
    assert connection.execute("SELECT count(*) FROM tenantry.quarantine").fetchone() == (0,)
