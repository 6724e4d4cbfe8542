"""What there is to report of a migration, as one value, read from the ledger and with no password in it."""

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from psycopg.errors import LockNotAvailable
from psycopg.rows import dict_row

import sql.postgres
import sql.sqlite
from control import holds, measured, status, timings
from control.holds import Fact, Holds
from control.measured import Cost
from control.plan.model import Plan
from control.report import secrets
from control.status import StageStatus, Status, TableStatus
from sql.database import Database, describe
from sql.ledger import LEDGER, send
from sql.named import load
from sql.postgres import catalog
from sql.postgres.connection import Connection, resolve
from sql.sqlite.connection import File
from worker import audit, chronicle, ledger
from worker.audit import Event
from worker.chronicle import Filled, Held, Pace

_OF_SERVER = load(Path(sql.postgres.__file__).parent, "report")
_OF_FILE = load(Path(sql.sqlite.__file__).parent, "report")

#: Rows in quarantine that are told one by one.
_MOST = 200


class Setting(Fact):
    """A setting of the server or of the file, in its own unit, and where it comes from."""

    name: str
    value: str
    source: str


class Server(Fact):
    """Where the migration is; `database` names it without a password."""

    kind: Literal["PostgreSQL", "SQLite"]
    version: str
    database: str
    standby: bool
    settings: tuple[Setting, ...]


class Stage(StageStatus):
    """A stage, with who vouched for it, what it cost, and the seconds that a rehearsal of it took."""

    confirmed_by: str | None
    confirmed_at: datetime | None
    cost: Cost | None
    rehearsed_seconds: float | None


class Migrated(TableStatus):
    """A table; `tenant` is the plan's source of it. Bytes count indexes and TOAST; None of a file's."""

    tenant: dict[str, Any]
    bytes_before: int | None
    bytes_now: int | None


class Checked(Fact):
    """A check of the verification: `ok` is None where it is only told; `sql` gave the evidence."""

    name: str
    ok: bool | None
    evidence: str
    query: str
    sql: str


class Account(Fact):
    """All that is reported. `holding` are the workers that hold now; `plan` is the file's text."""

    made_at: datetime
    tenantry: str
    server: Server
    status: Status
    stages: tuple[Stage, ...]
    tables: tuple[Migrated, ...]
    rates: tuple[Filled, ...]
    paces: tuple[Pace, ...]
    throttled: bool
    """Whether the governor looks at the database at all."""
    holds: tuple[Held, ...]
    holding: tuple[str, ...]
    held: Holds
    events: tuple[Event, ...]
    checks: tuple[Checked, ...]
    plan: str

    @property
    def finished(self) -> bool:
        """Whether the migration has come to its end."""
        return self.status.state == "complete"

    @property
    def statements(self) -> tuple[Event, ...]:
        """The statements that the controller ran, oldest first."""
        return tuple(event for event in self.events if event.statement is not None)


def read(plan: Plan, text: str, connection: Database) -> Account:
    """Read what there is to report; `text` is that of the plan's file.

    Raises:
        NoMigrationError: the ledger doesn't know it: it never began, or was walked back to its beginning.
    """
    found = ledger.read(connection, plan.name)
    shown = status.read(connection, plan.name)
    memory = ledger.Memory(connection, found.id)
    checks = (memory.recall("verification") or {}).get("checks", [])
    told = Account(
        made_at=datetime.now(UTC),
        tenantry=version("tenantry"),
        server=_server(plan, connection),
        status=shown,
        stages=_stages(plan, connection, found.id, shown),
        tables=_tables(plan, connection, found, shown),
        rates=tuple(chronicle.rates(connection, found.id)),
        paces=tuple(chronicle.paces(connection, found.id)),
        throttled=found.settings.throttle,
        holds=tuple(chronicle.holds(connection, found.id)),
        holding=tuple(one.worker for one in ledger.holding(connection, found.id)),
        held=holds.read(connection, found.id, most=_MOST),
        events=tuple(audit.events(connection, found.id)),
        checks=tuple(Checked(**{name: check[name] for name in Checked.model_fields}) for check in checks),
        plan=text,
    )
    return without_secrets(told, secrets.of(plan))


def without_secrets(account: Account, known: tuple[str, ...]) -> Account:
    """The same without passwords: those that look like one, and those that are known to be one."""
    told: Account = secrets.hidden("", account, known)
    return told


def _server(plan: Plan, connection: Database) -> Server:
    database = describe(resolve(plan.database.url.get_secret_value()))
    if isinstance(connection, File):
        rows = connection.rows(_OF_FILE.settings.filled())
        settings = tuple(Setting(**row | {"value": str(row["value"])}) for row in rows)
        used = next(one.value for one in settings if one.name == "sqlite_version")
        return Server(kind="SQLite", version=used, database=database, standby=False, settings=settings)
    with connection.cursor(row_factory=dict_row) as cursor:
        of_server = cursor.execute(_OF_SERVER.server.compose()).fetchall()[0]
        settings = tuple(Setting(**row) for row in cursor.execute(_OF_SERVER.settings.compose()))
    return Server(kind="PostgreSQL", database=database, settings=settings, **of_server)


def _stages(plan: Plan, connection: Database, migration: int, shown: Status) -> tuple[Stage, ...]:
    recorded, memory = ledger.stages(connection, migration), ledger.Memory(connection, migration)
    costs = measured.costs(memory, [stage.name for stage in shown.stages])
    rehearsal = timings.latest(plan, memory)
    rehearsed = {one.stage: one.seconds for one in rehearsal.stages} if rehearsal is not None else {}
    return tuple(
        Stage(
            **stage.model_dump(),
            confirmed_by=recorded[stage.name].confirmed_by if stage.name in recorded else None,
            confirmed_at=recorded[stage.name].confirmed_at if stage.name in recorded else None,
            cost=costs.get(stage.name),
            rehearsed_seconds=rehearsed.get(stage.name),
        )
        for stage in shown.stages
    )


def _tables(plan: Plan, connection: Database, found: ledger.Migration, shown: Status) -> tuple[Migrated, ...]:
    before = found.original.get("tables", {})
    now = {} if isinstance(connection, File) else _bytes(connection, [table.name for table in shown.tables])
    planned = {table.name: table.tenant.model_dump(exclude_none=True) for table in plan.tables}
    return tuple(
        Migrated(
            **table.model_dump(),
            tenant=planned.get(table.name, {}),
            bytes_before=before.get(table.name, {}).get("bytes"),
            bytes_now=now.get(table.name),
        )
        for table in shown.tables
    )


def _bytes(connection: Connection, tables: list[str]) -> dict[str, int]:
    """The sizes of the tables that are still there; none while somebody has one locked for more than 5 s."""
    try:
        with connection.transaction():
            send(connection, LEDGER.wait_briefly)
            return {name: table.bytes for name, table in catalog.read(connection, tables).tables.items()}
    except LockNotAvailable:
        return {}
