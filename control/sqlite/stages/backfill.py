"""The stage `backfill` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class Backfill(WithoutStatements):
    """The stage `backfill`."""

    name = "backfill"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = Backfill()
