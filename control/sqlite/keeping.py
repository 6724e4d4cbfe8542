"""The partial way back: columns and indexes stay, and every row has the sentinel again."""

from control.sqlite.stage import Ground


def keep_columns(ground: Ground) -> None:
    """Put the sentinel back, in every row."""
