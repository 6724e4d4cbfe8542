"""`tenantry demo`: the whole migration of a sample graph while an application works, servers included."""

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr
from rich.console import Console

import sql.postgres
from control import conductor
from control.demo import journal, sample, summary
from control.demo.application_process import ApplicationProcess
from control.demo.deploying import every_stage
from control.demo.messages import Settings
from control.demo.summary import Told
from control.embedded.postgres import EmbeddedPostgres, start_postgres
from control.embedded.valkey import start_valkey
from control.plan.model import Plan
from control.plan.reading import read_plan
from control.plan.sections import Backup, Database, Verify
from control.queue import namespace_of
from control.report import account
from control.watch import follow
from control.worker_pool import workers
from sql.named import load
from sql.postgres.connection import Connection, connect
from worker.broker import doorbell

STATEMENTS = load(Path(sql.postgres.__file__).parent, "demo")

#: As it is written for servers that the environment names; the demo brings its own.
PLAN = Path(__file__).with_name("sample.toml")

_DATABASE = "graph"
_WORKERS = 2


def plan_for(url: str, backup: Path) -> Plan:
    """The plan of the guide for the sample graph: entities by expression, relations by their source."""
    # Its servers are its own, with one superuser in the place of the plan's roles.
    return read_plan(PLAN).model_copy(
        update={
            "database": Database(url=SecretStr(url)),
            "roles": None,
            "verify": Verify(),
            "redis": None,
            "backup": Backup(path=str(backup)),
        }
    )


@dataclass(frozen=True, slots=True)
class _House:
    """What a demo stands on."""

    plan: Plan
    server: EmbeddedPostgres
    queue_url: str
    folder: Path
    entities: int
    console: Console

    @property
    def url(self) -> str:
        """The operator's address."""
        return self.server.url(_DATABASE)


def migrate(entities: int, console: Console) -> Told:
    """Run the demo, its progress on the console; what it has to tell at the end.

    Raises:
        TenantryError: a stage or the application failed.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tenantry-demo-")))
        console.print("starting PostgreSQL and Valkey in a temporary folder", style="dim")
        server = stack.enter_context(start_postgres())
        queue = stack.enter_context(start_valkey())
        plan = plan_for(server.url(_DATABASE), folder / "graph.dump")
        house = _House(plan, server, queue.url, folder, entities, console)
        _fill(house)
        return _migrate(house)


def _fill(house: _House) -> None:
    begun = time.monotonic()
    with connect(house.server.url(), "demo") as connection:
        connection.execute(STATEMENTS.create_database.compose())
    house.console.print(
        f"filling {house.entities:,} entities and {2 * house.entities:,} relations", style="dim"
    )
    with connect(house.url, "demo") as connection:
        sample.create(connection)
        sample.fill(connection, entities=house.entities)
    house.console.print(f"filled in {time.monotonic() - begun:.1f} s", style="dim")


def _migrate(house: _House) -> Told:
    namespace = namespace_of(house.plan)
    settings = Settings(
        url=house.server.url(_DATABASE, "graph_app"), folder=house.folder / "journal", entities=house.entities
    )
    with ExitStack() as stack:
        log = stack.enter_context((house.folder / "workers.log").open("wb"))
        connection = stack.enter_context(conductor.controller(house.plan))
        before = _measure(house.plan, connection)
        application = stack.enter_context(ApplicationProcess(settings))
        stack.enter_context(
            workers(
                _WORKERS, database_url=house.url, redis_url=house.queue_url, namespace=namespace, log_to=log
            )
        )
        with follow.shown(
            house.url, house.plan.name, house.console, application=lambda: summary.line(application.latest)
        ) as notices:
            bell = doorbell(house.queue_url, namespace)
            every_stage(
                partial(conductor.run, house.plan, connection, bell, notify=notices),
                partial(conductor.confirm, house.plan, connection),
                application,
            )
        report = application.stop()
        after = _measure(house.plan, connection)
        return Told(
            account=account.read(house.plan, "", connection),
            growth={name: (size, after.sizes[name]) for name, size in before.sizes.items()},
            notes=(f"WAL written: {summary.megabytes(after.wal - before.wal)}",),
            application=report,
            journal=journal.check(
                connection,
                settings.folder,
                entities=house.entities,
                tenant_column=house.plan.tenant.column,
            ),
        )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The WAL position and the tables' sizes with their indexes, in bytes."""

    wal: int
    sizes: dict[str, int]


def _measure(plan: Plan, connection: Connection) -> _Measured:
    position = connection.execute(STATEMENTS.wal_position.compose()).fetchone()
    sizes = {}
    for table in plan.tables:
        row = connection.execute(STATEMENTS.table_size.compose(), {"table": table.name}).fetchone()
        sizes[table.name] = int(row[0]) if row else 0
    return _Measured(wal=int(position[0]) if position else 0, sizes=sizes)
