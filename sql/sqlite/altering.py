"""What SQLite makes of a table's statement when it is altered, found out in an empty database in memory."""

import sqlite3
from contextlib import closing


def altered(statement: str, alter: str) -> str:
    """The statement that SQLite keeps of a table made by `statement`, after `alter`.

    Raises:
        sqlite3.OperationalError: it needs what only the application has.
    """
    with closing(sqlite3.connect(":memory:")) as memory:
        memory.execute(statement)
        memory.execute(alter)
        ((text,),) = memory.execute(_KEPT).fetchall()
        return str(text)


_KEPT = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND sql IS NOT NULL AND name NOT GLOB 'sqlite_*'"
