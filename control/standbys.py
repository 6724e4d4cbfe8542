"""Who reads a table on the plan's standbys, looked at before a lock goes there by the WAL.

The standby's replay waits for readers who hold the table, and everybody who comes after waits behind it;
after `max_standby_streaming_delay` it ends the readers. A short query is over before anybody notices, so
only those count that have been at it for a while.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from sql.errors import UnreachableError
from sql.postgres.connection import Connection, connect, describe, resolve
from sql.postgres.locks import STATEMENTS, Blocker

#: Seconds from which on a transaction that holds the table is in the way.
LONG = 1.0
#: What a look may take, in milliseconds: the gentle lock is held meanwhile.
_WITHIN_MS = 2_000


class StandbyError(Exception):
    """A standby that can't be looked at; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Standby:
    """A connection to a standby, whose name holds no password."""

    name: str
    connection: Connection

    def readers(self, tables: Sequence[sql.Identifier], modes: Sequence[str]) -> list[str]:
        """A line for each session that has held one of the tables there for long, in a mode of pg_locks.

        Raises:
            StandbyError: it does not answer, or hides what the sessions of others do.
        """
        asked = {"tables": [table.as_string() for table in tables], "modes": list(modes)}
        try:
            found = [Blocker(*row) for row in self.connection.execute(STATEMENTS.holders.compose(), asked)]
        except psycopg.Error as error:
            reason = (str(error).strip() or "no answer").splitlines()[0]
            raise StandbyError(_away(self.name, reason)) from error
        # Its replay holds locks too, the primary's; that is a process without a user, and hides nothing.
        if any(reader.age is None and reader.user is not None for reader in found):
            raise StandbyError(
                f"sessions on the standby {self.name} that hide how long they have been at it: "
                "GRANT pg_read_all_stats to this role, on the primary"
            )
        return [f"{reader} on the standby {self.name}" for reader in found if (reader.age or 0.0) >= LONG]


def _away(name: str, reason: str) -> str:
    return (
        f"the standby {name}, which can't be looked at ({reason}): "
        "bring it back, or take it out of [database] standbys"
    )


def out_of_reach(addresses: Sequence[str]) -> list[str]:
    """The standbys that let nobody in now, by name, each with the reason.

    Raises:
        GivenWrongError: an address can't be read, or names a variable that is not set.
    """
    found = []
    for address in addresses:
        try:
            connect(address, "standby", statement_timeout_ms=_WITHIN_MS).close()
        except UnreachableError as error:
            found.append(f"{error.server} ({error.reason})")
    return found


@contextmanager
def opened(addresses: Sequence[str]) -> Iterator[list[Standby]]:
    """Connect to the standbys, for as long as the context lasts.

    Raises:
        StandbyError: one can't be reached.
        GivenWrongError: an address can't be read, or names a variable that is not set.
    """
    with ExitStack() as open_:
        there: list[Standby] = []
        for address in addresses:
            name = describe(resolve(address))
            try:
                connection = connect(address, "standby", statement_timeout_ms=_WITHIN_MS)
            except UnreachableError as error:
                raise StandbyError(_away(name, error.reason)) from error
            there.append(Standby(name, open_.enter_context(connection)))
        yield there
