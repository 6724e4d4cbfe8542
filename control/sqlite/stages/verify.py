"""The stage `verify` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class Verify(WithoutStatements):
    """The stage `verify`."""

    name = "verify"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = Verify()
