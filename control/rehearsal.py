"""Rehearses a plan: the backup goes into another database, and every stage is run there and timed."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from control import backup, conductor, timings
from control.backup import Backup
from control.plan.model import Plan
from control.queue import namespace_of, queue_of
from control.restore import restore
from control.status import stages_of
from control.timings import Rehearsal, StageTiming
from control.worker_pool import workers as worker_processes
from sql import database
from sql.errors import GivenWrongError
from sql.postgres import catalog, surroundings
from sql.postgres import restore as server
from sql.postgres.connection import Connection, connect, describe, resolve
from worker import ledger
from worker.broker import Doorbell, doorbell

Notify = Callable[[str], None]

#: No application is on the copy, whose deployment or quiet there would be to wait for.
_VOUCHED = frozenset({"application", "rls"})


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What a rehearsal took, and the file that says so."""

    timings: Rehearsal
    file: Path


def on_copy(plan: Plan, into: str) -> Plan:
    """Make the plan of the rehearsal: the same migration elsewhere, with a queue of its own and at any hour.

    The copy has no standbys of its own and nobody to tell, its backup is what it was made from, and with no
    application about `rls` and `verify` would wait for nobody's quiet, whatever quiet the plan asks for.
    """
    tables = tuple(
        table.model_copy(update={"rls": table.rls.model_copy(update={"quiet": "1s"})})
        if table.rls is not None
        else table
        for table in plan.tables
    )
    return plan.model_copy(
        update={
            "database": plan.database.model_copy(update={"url": SecretStr(into), "standbys": ()}),
            "redis": None,
            "backup": None,
            "notify": None,
            "tables": tables,
            "backfill": plan.backfill.model_copy(update={"active": ()}),
            "verify": plan.verify.model_copy(update={"quiet": "1s"}),
        }
    )


def rehearse(
    plan: Plan,
    into: str,
    *,
    workers: int,
    jobs: int = 1,
    overwrite: bool = False,
    notify: Notify,
    log_to: IO[bytes] | None = None,
) -> Rehearsed:
    """Restore the plan's backup into `into`, run every stage there, and keep the timings beside the backup.

    What waits for an operator's word is confirmed. The copy stays as it is in the end, for the application to
    be tried on.

    Raises:
        GivenWrongError: the plan has no backup, or there is none yet, or `into` is the plan's own database.
        GateClosedError: a stage must wait there as it would in earnest: rows in quarantine, a false check.
        TenantryError: a stage failed.
    """
    kept = backup_of(plan)
    path = Path(kept.path)
    _not_itself(plan, into)
    begun = time.monotonic()
    restore(path, into, jobs=jobs, overwrite=overwrite, notify=notify)
    restored = time.monotonic() - begun
    of = on_copy(plan, into)
    with connect(into, "rehearsal") as connection:
        found = catalog.read(connection, [table.name for table in plan.tables])
        rows = {name: max(0, table.rows) for name, table in found.tables.items()}
        version = connection.info.server_version
    stages = run_timed(of, workers, notify, log_to, confirmed=_VOUCHED)
    told = Rehearsal(
        rehearsed_at=datetime.now(UTC),
        server=describe(resolve(into)),
        server_version=version,
        backup=kept.sha256,
        workers=workers,
        rows=rows,
        restore_seconds=restored,
        stages=tuple(stages),
    )
    return keep(plan, told, path)


def backup_of(plan: Plan) -> Backup:
    """What a rehearsal begins from.

    Raises:
        GivenWrongError: the plan has no backup, or there is none yet.
    """
    if plan.backup is None:
        raise GivenWrongError(
            "a rehearsal begins from the plan's backup: add [backup] path, then `tenantry backup`"
        )
    return backup.read(Path(plan.backup.path))


def keep(plan: Plan, told: Rehearsal, path: Path) -> Rehearsed:
    """Keep what a rehearsal took beside its backup, and in the ledger of a migration that has begun.

    One that hasn't takes it over from the file.
    """
    with database.connect(plan.database.url.get_secret_value(), "rehearsal") as connection:
        known = ledger.find(connection, plan.name)
        if known is not None:
            ledger.Memory(connection, known.id).remember(timings.MEMORY, told.model_dump(mode="json"))
    return Rehearsed(told, timings.write(told, path))


def _not_itself(plan: Plan, into: str) -> None:
    """Refuse to rehearse on the database that the rehearsal is for, by whatever address it is named."""
    with (
        connect(plan.database.url.get_secret_value(), "rehearsal") as ours,
        connect(into, "rehearsal") as theirs,
    ):
        same = surroundings.identity(ours) == surroundings.identity(theirs)
        if same and server.running(ours) == server.running(theirs):
            raise GivenWrongError(
                "--into is the plan's own database; name another, which the rehearsal may have"
            )


def run_timed(
    plan: Plan, workers: int, notify: Notify, log_to: IO[bytes] | None, *, confirmed: Collection[str]
) -> list[StageTiming]:
    """Run a plan from the first stage to the last, and tell what each took; `confirmed` are vouched for.

    Raises:
        TenantryError: a stage must wait, or failed.
    """
    url = resolve(plan.database.url.get_secret_value())
    namespace = namespace_of(plan)
    with (
        conductor.controller(plan) as connection,
        queue_of(plan) as queue,
        worker_processes(workers, database_url=url, redis_url=queue, namespace=namespace, log_to=log_to),
    ):
        bell = doorbell(queue, namespace)
        try:
            return [
                _timed(plan, connection, bell, name, notify=notify, confirmed=name in confirmed)
                for name in stages_of(plan.tenant.isolation)
            ]
        finally:
            bell.client.close()


def _timed(
    plan: Plan, connection: Connection, bell: Doorbell, stage: str, *, notify: Notify, confirmed: bool
) -> StageTiming:
    if confirmed:
        conductor.confirm(plan, connection, stage)
    before, begun = surroundings.position(connection), time.monotonic()
    conductor.run(plan, connection, bell, to=stage, notify=notify)
    seconds, after = time.monotonic() - begun, surroundings.position(connection)
    return StageTiming(
        stage=stage,
        seconds=seconds,
        wal_bytes=after.wal - before.wal,
        disk_bytes=after.disk - before.disk,
    )
