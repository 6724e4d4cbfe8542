"""The stage `backup` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class TakeBackup(WithoutStatements):
    """The stage `backup`."""

    name = "backup"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = TakeBackup()
