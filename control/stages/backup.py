"""The backup: the last way back, should every other one fail.

Will do: `pg_dump` to the plan's path, listed and checksummed; or take over what `tenantry backup` wrote there
before. Gate: none; without a path the stage passes and its warning is on record. Undoing: nothing; the file
stays, it is the operator's.
"""

from collections.abc import Callable
from pathlib import Path

from control import backup, timings
from control.backup import Backup
from control.course import unless_cancelled
from control.stage import Ground, Standing, WithoutStatements
from sql.errors import GivenWrongError
from sql.postgres import surroundings

#: Where the ledger keeps what was backed up, or that nothing was.
MEMORY = "backup"


class TakeBackup(WithoutStatements):
    """The stage `backup`."""

    name = "backup"

    def work(self, ground: Ground) -> None:
        """Take the backup, or put on record that there is none; and what its rehearsal took.

        Raises:
            GivenWrongError: something else is there already, or it can't be written.
            BackupError: no fitting `pg_dump`, it failed, or the backup doesn't hold what it must.
            CancelledError: the operator cancelled the migration; nothing is left.
        """
        identity = surroundings.identity(ground.connection)
        have_backup(
            ground, identity, lambda path: self._take(ground, path), vouched="backup" in ground.confirmed
        )

    def _take(self, ground: Ground, path: Path) -> Backup:
        return backup.dump(
            ground.plan.database.url.get_secret_value(),
            path,
            ground.original,
            jobs=ground.plan.backup.jobs if ground.plan.backup is not None else 1,
            database=surroundings.identity(ground.connection),
            go_on=lambda: unless_cancelled(ground, self.name),
        )


def have_backup(ground: Standing, identity: str, take: Callable[[Path], Backup], *, vouched: bool) -> None:
    """Take the plan's backup of the database `identity` by `take`, or take over what is there already.

    Without a path, or where the operator has `vouched` for another one, that is put on record.

    Raises:
        GivenWrongError: something else is there already.
        BackupError: it is not what was written; or what `take` raises.
        CancelledError: the operator cancelled the migration.
    """
    plan = ground.plan
    rehearsal = timings.latest(plan, ground.memory)
    if rehearsal is not None:
        ground.memory.remember(timings.MEMORY, rehearsal.model_dump(mode="json"))
    if plan.backup is None or vouched:
        warning = "not taken: the plan has no [backup] path"
        if plan.backup is not None:
            warning = "not taken: the operator vouches for another one"
        ground.memory.remember(MEMORY, {"warning": warning})
        ground.notify(f"backup: {warning}")
        return
    path = Path(plan.backup.path)
    taken = _taken_before(ground, identity, path) if path.exists() else take(path)
    ground.memory.remember(MEMORY, taken.model_dump(mode="json"))
    ground.notify(f"backup: {taken.path}, {taken.bytes} bytes, sha256 {taken.sha256}")


def _taken_before(ground: Standing, identity: str, path: Path) -> Backup:
    try:
        taken = backup.read(path)
    except GivenWrongError:
        raise GivenWrongError(
            f"{path} is there already; move it away, or name another [backup] path"
        ) from None
    if taken.database != identity:
        raise GivenWrongError(f"{path} is of another database; move it away, or name another [backup] path")
    backup.check(taken, lambda: unless_cancelled(ground, "backup"))
    ground.notify(f"backup: the one taken at {taken.taken_at:%Y-%m-%d %H:%M} UTC is whole, and stands")
    return taken


STAGE = TakeBackup()
