"""Reads rows of a database that has no plan yet, and never more than it can do in passing.

A small table is read whole. Of a large one some pages are, spread over all of it: as many whatever its
size. Each question is given up after `LIMIT_MS`, so that a slow one costs `init` an answer, and nobody else
anything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from psycopg import errors, sql

from sql.postgres import preflight, proposal
from sql.postgres.connection import Connection
from sql.postgres.facts import Table

#: A question may take so long, in milliseconds.
LIMIT_MS = 5_000
#: A table of so many bytes, with its indexes, is read whole: some 100,000 narrow rows.
SMALL = 16_000_000
#: Of a larger one so many bytes are read, and so many of the rows in them.
SAMPLE_BYTES, SAMPLE_ROWS = 2_000_000, 5_000

Answer = TypeVar("Answer")


class NotReadError(Exception):
    """What was asked could not be answered; `reason` says why, for a note."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Reader:
    """Asks about rows within the limits."""

    connection: Connection

    def rows(self, table: Table) -> sql.Composable:
        """The rows to look at, for a FROM."""
        if is_small(table):
            return table.identifier
        share = min(100.0, 100 * SAMPLE_BYTES / table.bytes)
        return proposal.sample(table.identifier, share=share, most=SAMPLE_ROWS)

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask in a transaction of its own, under the limit.

        Raises:
            NotReadError: not allowed, not in time, or the table went away.
        """
        try:
            with self.connection.transaction(force_rollback=True):
                preflight.limit(self.connection, LIMIT_MS)
                return question()
        except errors.InsufficientPrivilege:
            raise NotReadError("this user may not read them") from None
        except errors.QueryCanceled:
            raise NotReadError(f"that took more than {LIMIT_MS / 1000:g} s") from None
        except (errors.ProgrammingError, errors.DataError) as error:
            raise NotReadError(f"the server says: {error.diag.message_primary}") from None


def is_small(table: Table) -> bool:
    """Whether a table is read whole."""
    return table.bytes <= SMALL
