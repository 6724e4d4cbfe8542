"""The stage `indexes` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class Indexes(WithoutStatements):
    """The stage `indexes`."""

    name = "indexes"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = Indexes()
