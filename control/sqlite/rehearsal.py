"""Rehearses the plan of a SQLite file: its backup goes into another file, and every stage is run there."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from control.conductor import confirm
from control.plan.model import Plan
from control.rehearsal import Rehearsed, backup_of, keep, on_copy
from control.sqlite import conductor
from control.sqlite.backup import VERSION
from control.sqlite.restore import restore
from control.sqlite.steps import look
from control.status import FILE_STAGES
from control.timings import Rehearsal, StageTiming
from sql.database import describe
from sql.errors import GivenWrongError
from sql.postgres.connection import resolve
from sql.sqlite import verify
from sql.sqlite.connection import File, connect, path_of, sizes

Notify = Callable[[str], None]

#: No application is on the copy, whose deployment there would be to wait for.
_VOUCHED = "application"


def rehearse(plan: Plan, into: str, *, overwrite: bool = False, notify: Notify) -> Rehearsed:
    """Restore the plan's backup into the file at `into`, run every stage there, and keep the timings.

    What waits for an operator's word is confirmed. The copy stays as it is in the end, for the application to
    be tried on.

    Raises:
        GivenWrongError: the plan has no backup, or there is none yet, or `into` is the plan's own file.
        GateClosedError: a stage must wait there as it would in earnest: rows in quarantine, a false check.
        TenantryError: a stage failed.
    """
    kept = backup_of(plan)
    path = Path(kept.path)
    _not_itself(plan, into)
    begun = time.monotonic()
    restore(path, into, overwrite=overwrite, notify=notify)
    restored = time.monotonic() - begun
    of = on_copy(plan, into)
    with connect(resolve(into)) as file:
        found = look(file, plan)
        rows = {table.name: verify.count(file, found.table(table.name)) for table in plan.tables}
    told = Rehearsal(
        rehearsed_at=datetime.now(UTC),
        server=describe(resolve(into)),
        server_version=VERSION,
        backup=kept.sha256,
        workers=1,
        rows=rows,
        restore_seconds=restored,
        stages=tuple(run_timed(of, notify)),
    )
    return keep(plan, told, path)


def _not_itself(plan: Plan, into: str) -> None:
    """Refuse to rehearse on the file that the rehearsal is for, by whatever path it is named."""
    ours, theirs = path_of(resolve(plan.database.url.get_secret_value())), path_of(resolve(into))
    if ours.exists() and theirs.exists() and ours.samefile(theirs):
        raise GivenWrongError("--into is the plan's own file; name another, which the rehearsal may have")


def run_timed(plan: Plan, notify: Notify) -> list[StageTiming]:
    """Run a plan from the first stage to the last, and tell what each took.

    Raises:
        TenantryError: a stage must wait, or failed.
    """
    with conductor.controller(plan) as file:
        return [_timed(plan, file, name, notify) for name in FILE_STAGES]


def _timed(plan: Plan, file: File, stage: str, notify: Notify) -> StageTiming:
    if stage == _VOUCHED:
        confirm(plan, file, stage)
    before, begun = sizes(file.path), time.monotonic()
    conductor.run(plan, file, to=stage, notify=notify)
    seconds, after = time.monotonic() - begun, sizes(file.path)
    return StageTiming(
        stage=stage,
        seconds=seconds,
        # The WAL is used again from its beginning: its size is the most that it ever held.
        wal_bytes=max(0, after[1] - before[1]),
        disk_bytes=sum(after) - sum(before),
    )
