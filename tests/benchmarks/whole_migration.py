"""The whole migration of the sample graph, keys and row-level security included, beside an application.

The application sends each statement once. It runs the code that does not know tenants up to the gate of the
stage `application`, and then the code that does: as an operator deploys it there.
"""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from control import conductor
from control.demo.show import plan_for
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.queue import namespace_of
from sql.errors import GateClosedError
from sql.postgres.connection import Connection
from tests.benchmarks.application import RATE, Code, Felt, applied
from tests.benchmarks.backfills import crew
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.governed import WORKERS, shown
from tests.benchmarks.tables import Tables
from worker import ledger
from worker.broker import doorbell

NAME = "governor-migration"
ENTITIES = 200_000
#: Stages shorter than this, in seconds, have no stall of their own.
_TOLD = 0.1


@dataclass(frozen=True, slots=True)
class Migrated:
    """A migration from its first stage to its last: when each stage ran, and what was felt."""

    spans: dict[str, tuple[float, float]]
    felt: Felt

    @property
    def seconds(self) -> float:
        """From the first stage's beginning to the last one's end."""
        return max(end for _, end in self.spans.values()) - min(begun for begun, _ in self.spans.values())

    def stalls(self) -> dict[str, float]:
        """The longest stall of each stage, in seconds; between two operations a short one may pass."""
        return {
            stage: self.felt.between(begun, ended).longest
            for stage, (begun, ended) in self.spans.items()
            if ended - begun > _TOLD
        }


def measure(tables: Tables) -> list[Figure]:
    """From the first stage to the last, under the default governor."""
    url = tables.graph(ENTITIES)
    with tempfile.TemporaryDirectory(prefix="tenantry-bench-") as folder:
        plan = plan_for(url, Path(folder) / "graph.dump")
        done = migrated(plan, tables.url(user="graph_app"), ENTITIES, "graph with tenants")
    says = f"the whole migration, {ENTITIES:,} entities and {2 * ENTITIES:,} relations, {RATE}/s"
    values = {
        Bar("longest stall, ms", must=500.0, at_most=True): done.felt.longest * 1000,
        Bar("errors", must=0.0, at_most=True): len(done.felt.errors),
        Bar("seconds"): done.seconds,
        **shown("in all", done.felt),
        **{Bar(f"longest stall in {stage}, ms"): stall * 1000 for stage, stall in done.stalls().items()},
    }
    return [Figure(NAME, says, bar, (value,)) for bar, value in values.items()]


def migrated(
    plan: Plan,
    application: str,
    entities: int,
    deployed: Code,
    *,
    throttle: bool = True,
    vouched: bool = False,
) -> Migrated:
    """Migrate beside an application at an address, which runs the code `deployed` from `application` on.

    With `vouched`, the operator confirms `rls` too, and nothing waits for a quiet time.
    """
    with ExitStack() as stack:
        queue = stack.enter_context(start_valkey())
        stack.enter_context(crew(plan, queue.url, WORKERS))
        connection = stack.enter_context(conductor.controller(plan))
        bell = doorbell(queue.url, namespace_of(plan))
        stack.callback(bell.client.close)
        beside = stack.enter_context(applied(application, entities, "graph"))
        begun = time.time()
        try:
            conductor.run(plan, connection, bell, throttle=throttle, notify=lambda _line: None)
        except GateClosedError as closed:
            if closed.stage != "application":
                raise
        beside.switch(deployed)
        for stage in ("application", "rls") if vouched else ("application",):
            conductor.confirm(plan, connection, stage)
        conductor.run(plan, connection, bell, throttle=throttle, notify=lambda _line: None)
        ended = time.time()
        return Migrated(_spans(connection, plan), beside.stop().between(begun, ended))


def _spans(connection: Connection, plan: Plan) -> dict[str, tuple[float, float]]:
    """When each stage began and ended, in the epoch's seconds, in order."""
    stages = ledger.stages(connection, ledger.read(connection, plan.name).id)
    return {
        name: (stage.started_at.timestamp(), stage.finished_at.timestamp())
        for name, stage in stages.items()
        if stage.started_at is not None and stage.finished_at is not None
    }
