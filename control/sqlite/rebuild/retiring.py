"""Takes a table of ours away without holding the write lock for long."""

from functools import partial

from control.sqlite.rebuild.pacing import Pace
from sql.sqlite import rebuild
from sql.sqlite.connection import File
from sql.sqlite.names import listed, quoted
from sql.sqlite.rebuild import STATEMENTS

#: As many rows are dropped with their table: 80 ms for two million that were in memory.
AT_ONCE = 1_000_000


def retire(file: File, name: str, rowid: str | None, pace: Pace) -> None:
    """Drop a table that nobody uses any more: its indexes, then the most of its rows, then itself."""
    if rebuild.kind_of(file, name) is None:
        return
    what = f"drop {name}"
    for entry in rebuild.entries(file, name)[1:]:
        if entry.sql is None:  # a constraint's: it goes with the table
            continue
        drop = STATEMENTS.drop_index.filled(index=quoted(entry.name))
        pace.batch(what, partial(_send, file, drop))
    left = int(file.value(STATEMENTS.rows.filled(table=quoted(name)))) - AT_ONCE
    key = (rowid,) if rowid is not None else rebuild.key_of(file, name)
    order = ", ".join(f"{quoted(column)} DESC" for column in key)
    empty = STATEMENTS.empty.filled(table=quoted(name), key=listed(key), order=order)
    while left > 0:
        left -= pace.batch(what, lambda size: file.execute(empty, {"rows": size}).rowcount)
    pace.batch(what, partial(_send, file, STATEMENTS.drop_table.filled(table=quoted(name))))


def _send(file: File, statement: str, _size: int) -> int:
    file.execute(statement)
    return 0
