"""The backup: the last way back, should every other one fail.

Will do: `pg_dump` to the plan's path, listed and checksummed. Gate: none; without a path the stage passes and
its warning is on record. Undoing: nothing; the file stays, it is the operator's.
"""

from dataclasses import asdict
from pathlib import Path

from control import backup
from control.course import unless_cancelled
from control.stage import Ground, WithoutStatements

#: Where the ledger keeps what was backed up, or that nothing was.
MEMORY = "backup"
#: The ledger isn't part of it: a restored database has not been migrated.
LEDGER_SCHEMA = "tenantry"


class TakeBackup(WithoutStatements):
    """The stage `backup`."""

    name = "backup"

    def work(self, ground: Ground) -> None:
        """Take the backup, or put on record that there is none.

        Raises:
            GivenWrongError: the file is there already, or can't be written.
            BackupError: no fitting `pg_dump`, it failed, or the backup doesn't hold what it must.
            CancelledError: the operator cancelled the migration; no file is left.
        """
        plan = ground.plan
        if plan.backup is None or self.name in ground.confirmed:
            warning = "not taken: the plan has no [backup] path"
            if plan.backup is not None:
                warning = "not taken: the operator vouches for another one"
            ground.memory.remember(MEMORY, {"warning": warning})
            ground.notify(f"backup: {warning}")
            return
        taken = backup.dump(
            plan.database.url.get_secret_value(),
            Path(plan.backup.path),
            ground.original,
            LEDGER_SCHEMA,
            go_on=lambda: unless_cancelled(ground, self.name),
        )
        ground.memory.remember(MEMORY, asdict(taken))
        ground.notify(f"backup: {taken.path}, {taken.bytes} bytes, sha256 {taken.sha256}")


STAGE = TakeBackup()
