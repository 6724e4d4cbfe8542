"""The stage `preflight` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class Preflight(WithoutStatements):
    """The stage `preflight`."""

    name = "preflight"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = Preflight()
