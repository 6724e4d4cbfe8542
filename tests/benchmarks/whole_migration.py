"""The whole migration of the sample graph, keys and row-level security included, beside an application.

The application sends each statement once. It runs the code that does not know tenants up to the gate of the
stage `application`, and then the code that does: as an operator deploys it there.
"""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from control import conductor
from control.demo.show import plan_for
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.queue import namespace_of
from sql.errors import GateClosedError
from sql.postgres.connection import Connection
from tests.benchmarks.application import RATE, Application, applied
from tests.benchmarks.backfills import crew
from tests.benchmarks.figures import Bar, Figure
from tests.benchmarks.governed import WORKERS, shown
from tests.benchmarks.tables import Tables
from worker import ledger
from worker.broker import Doorbell, doorbell

NAME = "governor-migration"
ENTITIES = 200_000


def measure(tables: Tables) -> list[Figure]:
    """From the first stage to the last, under the default governor."""
    url = tables.graph(ENTITIES)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-bench-")))
        plan = plan_for(url, folder / "graph.dump")
        queue = stack.enter_context(start_valkey())
        stack.enter_context(crew(plan, queue.url, WORKERS))
        connection = stack.enter_context(conductor.controller(plan))
        bell = doorbell(queue.url, namespace_of(plan))
        stack.callback(bell.client.close)
        application = stack.enter_context(applied(tables.url(user="graph_app"), ENTITIES, "graph"))
        begun = time.time()
        _every_stage(plan, connection, bell, application)
        ended = time.time()
        felt = application.stop().between(begun, ended)
        spans = _spans(connection, plan)
    says = f"the whole migration, {ENTITIES:,} entities and {2 * ENTITIES:,} relations, {RATE}/s"
    values = {
        Bar("longest stall, ms", must=500.0, at_most=True): felt.longest * 1000,
        Bar("errors", must=0.0, at_most=True): len(felt.errors),
        Bar("seconds"): ended - begun,
        **shown("in all", felt),
    }
    for stage, (first, last) in spans.items():
        # A stage of a few milliseconds may pass between two operations.
        if last - first > 0.1:
            values[Bar(f"longest stall in {stage}, ms")] = felt.between(first, last).longest * 1000
    return [Figure(NAME, says, bar, (value,)) for bar, value in values.items()]


def _every_stage(plan: Plan, connection: Connection, bell: Doorbell, application: Application) -> None:
    """Go to the gate of `application`, deploy the other code, vouch for it, and go on to the end."""
    try:
        conductor.run(plan, connection, bell, notify=lambda _line: None)
    except GateClosedError as closed:
        if closed.stage != "application":
            raise
    application.switch("graph with tenants")
    conductor.confirm(plan, connection, "application")
    conductor.run(plan, connection, bell, notify=lambda _line: None)


def _spans(connection: Connection, plan: Plan) -> dict[str, tuple[float, float]]:
    """When each stage began and ended, in the epoch's seconds, in order."""
    stages = ledger.stages(connection, ledger.read(connection, plan.name).id)
    return {
        name: (stage.started_at.timestamp(), stage.finished_at.timestamp())
        for name, stage in stages.items()
        if stage.started_at is not None and stage.finished_at is not None
    }
