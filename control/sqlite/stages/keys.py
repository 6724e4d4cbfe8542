"""The stage `keys` of a SQLite file."""

from control.sqlite.stage import Ground, WithoutStatements


class Keys(WithoutStatements):
    """The stage `keys`."""

    name = "keys"

    def work(self, ground: Ground) -> None:
        """Nothing yet."""


STAGE = Keys()
