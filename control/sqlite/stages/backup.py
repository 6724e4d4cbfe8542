"""The backup of a SQLite file: the last way back, should every other one fail.

Will do: copy the file to the plan's path by the online backup API, checked and checksummed; or take over what
`tenantry backup` wrote there before. Then keep what `verify` is to compare the rows with. Gate: none; without
a path the stage passes and its warning is on record. Undoing: nothing; the copy is the operator's.
"""

from pathlib import Path

from control.backup import Backup
from control.course import unless_cancelled
from control.sqlite import backup
from control.sqlite.stage import Ground, WithoutStatements
from control.sqlite.verification import baseline
from control.stages.backup import have_backup


class TakeBackup(WithoutStatements):
    """The stage `backup`."""

    name = "backup"

    def work(self, ground: Ground) -> None:
        """Take the copy, or put on record that there is none.

        Raises:
            GivenWrongError: something else is there already, or it can't be written.
            BackupError: no room, or the copy isn't whole.
            CancelledError: the operator cancelled the migration; nothing is left.
        """
        have_backup(
            ground,
            backup.identity(ground.connection),
            lambda path: self._take(ground, path),
            vouched=self.name in ground.confirmed,
        )
        baseline.keep(ground)

    def _take(self, ground: Ground, path: Path) -> Backup:
        return backup.copy(
            ground.plan.database.url.get_secret_value(),
            path,
            ground.original,
            go_on=lambda: unless_cancelled(ground, self.name),
            notify=lambda line: ground.notify(f"backup: {line}"),
        )


STAGE = TakeBackup()
