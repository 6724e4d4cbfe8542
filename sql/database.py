"""A connection to either database, as what serves both asks for it; and to which an address leads."""

from sql.postgres import connection as postgres
from sql.postgres.connection import Connection, resolve
from sql.sqlite import connection as sqlite
from sql.sqlite.connection import File, is_file, path_of

#: What the ledger is in. Both have `transaction()`, `close()`, `closed` and `broken`; whoever sends more than
#: the ledger's statements asks which of the two it has.
Database = Connection | File


def connect(url: str, purpose: str, *, statement_timeout_ms: int = 0) -> Database:
    """Open an autocommit connection; `url` may be `env:NAME`. A file's statements wait only for its writer.

    Raises:
        GivenWrongError: the address can't be read.
        UnreachableError: no answer, the login refused; no such file, or it is no database.
    """
    address = resolve(url)
    if is_file(address):
        return sqlite.connect(address)
    return postgres.connect(address, purpose, statement_timeout_ms=statement_timeout_ms)


def describe(url: str) -> str:
    """Name the database of a resolved address without its password.

    Raises:
        GivenWrongError: not an address.
    """
    return f"SQLite {path_of(url)}" if is_file(url) else postgres.describe(url)
