"""The doorbell: dramatiq on Redis, told "look at batches N to M" and nothing else.

What dramatiq 2.2 does on Redis was seen by running it (design, section 2): retries, callbacks and delayed
messages may get lost, so none is used; the ledger knows what is to be done.
"""

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware, ShutdownNotifications
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

QUEUE = "batches"
ACTOR = "work"

#: An idle worker asks the queue this often, in milliseconds; dramatiq's own back-off goes to a second,
#: which a table of a few batches feels.
_ASK_EVERY = 100


class Doorbell(RedisBroker):
    """A Redis broker whose idle consumers ask again after a tenth of a second."""

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
    broker = Doorbell(  # type: ignore[no-untyped-call]  # dramatiq has no types here
        client=client(url), namespace=f"{namespace}:queue", middleware=[ShutdownNotifications(), *middleware]
    )
    broker.declare_queue(QUEUE)
    return broker
