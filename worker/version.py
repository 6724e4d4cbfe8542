"""Which version the ledger's schema has, and how an older one comes to this program's.

An upgrade only adds: tables, indexes, and columns that may be empty. A program of the version before that is
at work on another migration does not stumble over it.
"""

from importlib.metadata import version as of_package

from psycopg.errors import LockNotAvailable

from sql.database import Database
from sql.errors import LedgerHeldError, LedgerVersionError
from sql.ledger import LEDGER, UPGRADE, send

#: The version that this program works with. Of each after the first `upgrade.sql` has the statement `to_…`.
VERSION = 2


def of(connection: Database) -> int | None:
    """The version of this database's ledger; None where there is none."""
    (there,) = send(connection, UPGRADE.found)
    if there["versioned"]:
        return int(send(connection, UPGRADE.version)[0]["version"])
    return 1 if there["exists"] else None


def not_newer(connection: Database) -> int | None:
    """The same, where this program can do something with it.

    Raises:
        LedgerVersionError: a later program made or upgraded it.
    """
    found = of(connection)
    if found is not None and found > VERSION:
        raise LedgerVersionError(found, VERSION)
    return found


def create(connection: Database) -> None:
    """Make the ledger where it isn't there, and upgrade an older one; all of it or nothing.

    Raises:
        LedgerVersionError: a later program made or upgraded it.
        LedgerHeldError: somebody else keeps its tables.
        FileBusyError: another writer has the file.
    """
    if not_newer(connection) != VERSION:
        _bring(connection)


def upgrade(connection: Database) -> None:
    """Upgrade a ledger of an older version; where there is none, or one of this version, nothing happens.

    Raises:
        LedgerVersionError: a later program made or upgraded it.
        LedgerHeldError: somebody else keeps its tables.
        FileBusyError: another writer has the file.
    """
    if not_newer(connection) not in {None, VERSION}:
        _bring(connection)


def _bring(connection: Database) -> None:
    program = of_package("tenantry")
    try:
        with connection.transaction():
            send(connection, LEDGER.wait_briefly)
            send(connection, UPGRADE.alone)
            found = not_newer(connection)  # as whoever was alone before us left it
            if found is None:
                send(connection, LEDGER.create)
                send(connection, UPGRADE.reached, version=VERSION, program=program)
                return
            for to in range(found + 1, VERSION + 1):
                send(connection, getattr(UPGRADE, f"to_{to}"))
                send(connection, UPGRADE.reached, version=to, program=program)
                told = f"the ledger, from version {to - 1} to {to}"
                send(connection, UPGRADE.tell, actor=f"tenantry {program}", message=told)
    except LockNotAvailable:
        raise LedgerHeldError from None
