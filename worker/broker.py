"""The doorbell: dramatiq on Redis, told "look at batches N to M" and nothing else.

What dramatiq 2.2 does on Redis was seen by running it (design, section 2): retries, callbacks and delayed
messages may get lost, so none is used; the ledger knows what is to be done.
"""

import time

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.common import compute_backoff
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware, ShutdownNotifications
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker import metrics
from worker.message import ACTOR, QUEUE, RefusedMessageError, read

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: An idle worker asks the queue this often, in milliseconds; dramatiq's own back-off goes to a second,
#: which a table of a few batches feels.
_ASK_EVERY = 100
#: Seconds between two lines about messages that are refused, however many there are.
_SAY_EVERY = 10.0
#: Nothing of a queue that nobody rings in any more is kept for longer, in seconds: dramatiq itself leaves the
#: names of those who rang there for ever, in each migration's queue. What is rung again is kept again.
_FORGET_AFTER = 86_400


class Ear(_RedisConsumer):
    """Takes one message after the other and hands on the range in it; what is no range is thrown away."""

    _quiet_until = 0.0

    def __next__(self) -> dramatiq.MessageProxy | None:
        """The next message; None where none came, or it was refused."""
        try:
            if self.outstanding_message_count >= self.prefetch or not (
                fetched := self.broker.do_fetch(self.queue_name, 1)
            ):
                self.misses, rest = compute_backoff(self.misses, max_backoff=self.timeout)
                time.sleep(rest / 1000)
                return None
            self.misses = 0
            return self._heard(fetched[0] or b"")
        except redis.ConnectionError as error:
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def _heard(self, data: bytes) -> dramatiq.MessageProxy | None:
        taken = self.broker.taken(self.queue_name) - self.queued_message_ids
        try:
            # Nothing of ours is ever delayed: what is in that queue has no name of ours.
            name, batches = read(data, taken if self.queue_name == QUEUE else frozenset())
        except RefusedMessageError as refused:
            self._refuse(taken, refused.reason)
            return None
        self.queued_message_ids.add(name)
        return dramatiq.MessageProxy(
            dramatiq.Message(
                queue_name=QUEUE,
                actor_name=ACTOR,
                args=(),
                kwargs=batches.model_dump(),
                options={"redis_message_id": name},
                message_id=name,
            )
        )

    def _refuse(self, taken: frozenset[str], reason: str) -> None:
        for name in taken:
            self.broker.do_ack(self.queue_name, name)
        metrics.REFUSED.inc()
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _SAY_EVERY
            log.warning("a message was refused: it is no range of batches", reason=reason)


class Doorbell(RedisBroker):
    """A Redis broker whose idle consumers ask again after a tenth of a second, and trust no message."""

    @property
    def consumer_class(self) -> type[Ear]:
        """What consumes a queue."""
        return Ear

    def taken(self, queue_name: str) -> frozenset[str]:
        """The names of the messages that this process has taken from a queue and not given back."""
        key = f"{self.namespace}:__acks__.{self.broker_id}.{queue_name}"
        with self.client.pipeline() as pipeline:
            pipeline.smembers(key)
            pipeline.expire(key, _FORGET_AFTER)
            names, _ = pipeline.execute()
        return frozenset(name.decode("utf-8", "surrogateescape") for name in names)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> dramatiq.Consumer:
        """Consume a queue."""
        return super().consume(queue_name, prefetch, min(timeout, _ASK_EVERY))

    def waiting(self) -> int:
        """Messages in the queue that no worker has taken.

        Not dramatiq's own size, which counts those that were taken too: a killed worker keeps its own there.
        """
        return int(self.client.llen(f"{self.namespace}:{QUEUE}"))

    def ring(self, first: int, last: int) -> None:
        """Point workers at the batches from `first` to `last`.

        Raises:
            redis.RedisError: the queue server doesn't answer; the ledger still knows the batches.
        """
        self.enqueue(
            dramatiq.Message(
                queue_name=QUEUE, actor_name=ACTOR, args=(), kwargs={"first": first, "last": last}, options={}
            )
        )
        with self.client.pipeline() as pipeline:
            for key in ("__heartbeats__", QUEUE, f"{QUEUE}.msgs"):
                pipeline.expire(f"{self.namespace}:{key}", _FORGET_AFTER)
            pipeline.execute()


def client(url: str) -> "redis.Redis":
    """A Redis client with timeouts of its own: redis-py 8 waits 5 s by default, and does not try again."""
    return redis.Redis.from_url(
        url,
        socket_timeout=3,
        socket_connect_timeout=3,
        health_check_interval=15,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
        retry_on_error=[redis.ConnectionError, redis.TimeoutError],
    )


def doorbell(url: str, namespace: str, *middleware: Middleware) -> Doorbell:
    """A broker of this namespace, its queue declared."""
    dramatiq.set_encoder(dramatiq.JSONEncoder())  # what `worker.message` reads
    broker = Doorbell(  # type: ignore[no-untyped-call]  # dramatiq has no types here
        client=client(url), namespace=f"{namespace}:queue", middleware=[ShutdownNotifications(), *middleware]
    )
    broker.declare_queue(QUEUE)
    return broker
