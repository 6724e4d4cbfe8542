"""What SQLite's own check finds wrong in a file.

SQLite 3.40 reads the columns of a WITHOUT ROWID table at the wrong places when it looks for NULLs in those
that refuse them: where the key's columns are not the first ones of the table it finds some that are none, in
each row. What it says of such a column is left out where no row has a NULL in it.
"""

from itertools import islice
from pathlib import Path

from sql.named import load
from sql.sqlite.connection import File
from sql.sqlite.names import quoted

STATEMENTS = load(Path(__file__).parent, "integrity")


def faults(file: File, *, most: int, table: str | None = None, quick: bool = False) -> list[str]:
    """The first faults that are found, at most so many; none where all is well.

    With a `table`, of that one and its indexes, unless SQLite would find NULLs in it: then of the whole file.
    `quick` leaves out whether indexes fit their tables.
    """
    mistaken = _mistaken(file)
    check = STATEMENTS.quick if quick else STATEMENTS.whole
    if table is not None and not any(of == table for of, _ in mistaken):
        found = file.execute(STATEMENTS.of_table.filled(table=quoted(table)))
    else:
        found = file.execute(check.filled())
    words = {f"NULL value in {of}.{column}" for of, column in mistaken} | {"ok"}
    return list(islice((line for (line,) in found if line not in words), most))


def _mistaken(file: File) -> set[tuple[str, str]]:
    """Tables without a rowid and their columns that refuse NULL and have none."""
    columns: dict[str, list[str]] = {}
    for row in file.rows(STATEMENTS.refusing.filled()):
        columns.setdefault(row["table"], []).append(row["column"])
    return {
        (table, column)
        for table, named in columns.items()
        for column, has_null in zip(named, _nulls(file, table, named), strict=True)
        if not has_null
    }


def _nulls(file: File, table: str, columns: list[str]) -> tuple[int | None, ...]:
    asked = ", ".join(STATEMENTS.any_null.filled(column=quoted(column)) for column in columns)
    found: tuple[int | None, ...] = file.execute(
        STATEMENTS.nulls.filled(columns=asked, table=quoted(table))
    ).fetchone()
    return found
