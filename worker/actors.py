"""The worker process: what `dramatiq worker.actors` loads.

`control.worker_pool` starts it, one process of one thread each. Import order matters: the environment
names the Prometheus folder before this module is loaded.
"""

import os
import signal
import socket
import threading
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import Middleware
from psycopg_pool import ConnectionPool

from sql.postgres.batch import never_in_the_way
from sql.postgres.connection import Connection, parameters, resolve, session_options
from worker import logs
from worker.broker import client, doorbell
from worker.governor.pace import Governor
from worker.governor.shared import Shared
from worker.message import ACTOR, QUEUE
from worker.settings import WorkerSettings
from worker.slice import Station

log: structlog.stdlib.BoundLogger = structlog.get_logger()

#: A row lock that isn't free in 100 ms belongs to the application (design, section 2).
_LOCK_TIMEOUT_MS = 100
#: A batch is bounded by its statement timeout, in less than a second; seconds.
_LAST_BATCH_WITHIN = 5.0


def _me() -> str:
    """Tells workers apart on every host: the exporter counts connections by it."""
    return f"{os.getpid()}@{socket.gethostname()}"


def _orphaned(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


class Boot(Middleware):
    """Sets the worker up after dramatiq forked it: connections don't live through a fork."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.stopping = threading.Event()
        self.station: Station

    def after_process_boot(self, _broker: dramatiq.Broker) -> None:
        """Open the connections, and watch over the process that started us."""
        options = session_options(lock_timeout_ms=_LOCK_TIMEOUT_MS, statement_timeout_ms=800)
        keywords: dict[str, Any] = parameters(
            resolve(self.settings.database_url.get_secret_value()), f"worker {_me()}", options
        )
        pool = ConnectionPool(
            kwargs={"autocommit": True, **keywords},
            connection_class=Connection,
            configure=never_in_the_way,
            check=ConnectionPool.check_connection,
            min_size=1,
            # One for the batch, one for the look at the database, one for the small commits beside them.
            max_size=3,
            open=True,
        )
        shared = Shared(client(self.settings.redis_url.get_secret_value()), self.settings.namespace)
        self.station = Station(pool, Governor(shared, pool, _me()), self.stopping)
        threading.Thread(target=self._watch_supervisor, daemon=True).start()

    def before_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Drop out of the slice after the batch at hand."""
        self.stopping.set()

    def after_worker_shutdown(self, _broker: dramatiq.Broker, _worker: dramatiq.Worker) -> None:
        """Close the connections."""
        self.station.pool.close()

    def _watch_supervisor(self) -> None:
        """End this worker when the process that started it has died, or when dramatiq's own parent has.

        Nobody would restart or stop it any more. It does not go by dramatiq's own way out, which waits for a
        queue server that may be gone too: the batch at hand is finished, and the rest is in the ledger.
        """
        parent = os.getppid()
        supervisor = self.settings.supervisor_pid
        while not self.stopping.wait(1.0):
            alone = os.getppid() != parent
            if alone or (supervisor is not None and _orphaned(supervisor)):
                log.warning("the process that started this worker is gone; stopping")
                self.stopping.set()
                self.station.idle.wait(_LAST_BATCH_WITHIN)
                if not alone:
                    os.kill(parent, signal.SIGKILL)
                os._exit(1)


logs.configure()
settings = WorkerSettings()
boot = Boot(settings)
broker = doorbell(settings.redis_url.get_secret_value(), settings.namespace, boot)
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name=ACTOR, queue_name=QUEUE, broker=broker)
def work(first: int, last: int) -> None:
    """Look at batches `first` to `last`."""
    boot.station.work(first, last)
