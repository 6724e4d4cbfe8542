"""A worker's station in the test's own process, a migration for it, and a signal that a test turns."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

from control.embedded.valkey import EmbeddedValkey
from control.stage import Ground
from control.stages.backfill import jobs_of
from sql.postgres.connection import Connection, connect
from tests.integration.backfilling import plan_of, prepared
from tests.integration.worker_threads import station
from worker import jobs, ledger, paging
from worker.governor.shared import Shared
from worker.slice import Station

namespaces = count(1)
OPEN = "CREATE TABLE public.knob AS SELECT 0 AS n"
HOLD = "UPDATE public.knob SET n = 10"
GO = "UPDATE public.knob SET n = 0"
BY_QUERY = {
    "max_query": 5,
    "stop_query": 10,
    "query": "SELECT n FROM public.knob",
    "max_waited": "none",
    "stop_waited": "none",
}


def station_of(
    url: str, valkey: EmbeddedValkey, name: str, namespace: str
) -> AbstractContextManager[Station]:
    """A worker's station in the test's own process."""
    return station(url, valkey.url, name, namespace)


@contextmanager
def grounded(url: str, valkey: EmbeddedValkey, **changes: Any) -> Iterator[tuple[Ground, Connection]]:
    with connect(url, "test") as session:
        ground = prepared(plan_of(url, **changes), session, valkey.url)
        assert ground.doorbell is not None
        ground.doorbell.client.close()
        yield ground, session


def planned(ground: Ground, session: Connection) -> tuple[int, int]:
    """The first and the last batch of the entities."""
    table = ground.plan.table("graph_entities")
    (job,) = jobs_of(ground, table, [ground.original.table("graph_entities")])
    ids: list[int] = []
    while not (job := jobs.read(session, job.id)).planned:
        ids += paging.plan_group(session, job, batch_rows=100)
    return ids[0], ids[-1]


def tell(session: Connection, ground: Ground, **settings: object) -> None:
    """Tell workers other settings, as tuning does."""
    told = ledger.read(session, ground.plan.name).settings.model_copy(update=settings)
    ledger.tune(session, ground.migration, {}, told)


def advances_of(shared: Shared) -> set[str]:
    """The workers that have paid for a batch under way."""
    keys = shared.client.hkeys(f"{shared.namespace}:governor:advances")
    return {key.decode() if isinstance(key, bytes) else key for key in keys}


@contextmanager
def working(station: Station, batches: tuple[int, int]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=station.work, args=batches)
    thread.start()
    try:
        yield thread
    finally:
        station.stopping.set()
        thread.join(60)
