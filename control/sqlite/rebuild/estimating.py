"""How long the write lock would be held to make tables anew in one transaction, by a trial on their rows."""

import time
from collections.abc import Sequence

from control.sqlite.rebuild.making import Making, columns_of
from sql.sqlite.connection import File
from sql.sqlite.names import quoted
from sql.sqlite.rebuild import STATEMENTS

#: Rows of the trial; of fewer the time is nothing to go by, and then so is that of all.
_TRIAL = 5_000
#: The whole is compared, too, and sorting more rows takes longer for each.
_MARGIN = 2.5


def seconds(file: File, group: Sequence[Making]) -> float:
    """For how long the lock would be held, roughly; the trial itself takes none."""
    return sum(_seconds(file, one) for one in group)


def _seconds(file: File, one: Making) -> float:
    rows = int(file.value(STATEMENTS.rows.filled(table=quoted(one.name))))
    if not rows:
        return 0.0
    trial = f"{one.new}_trial"
    begun = time.perf_counter()
    file.execute("BEGIN")
    try:
        file.execute(one.bare(after=True, name=trial).replace("CREATE TABLE", "CREATE TEMP TABLE", 1))
        file.execute(
            STATEMENTS.make_trial.filled(
                trial=quoted(trial), columns=columns_of(one), table=quoted(one.name)
            ),
            {"rows": _TRIAL},
        )
        for at, piece in enumerate(one.coming):
            if one.comes_along(piece):
                continue
            statement = piece.create(f"{trial}_{at}", trial)
            file.execute(statement.replace(" INDEX ", " INDEX temp.", 1))
    finally:
        file.execute("ROLLBACK")
    return (time.perf_counter() - begun) * max(1.0, rows / _TRIAL) * _MARGIN
