"""Publications that a change of keys would break.

A published table is updated only where its replica identity, as a rule the primary key, is within what the
publication sends. One with a column list (PostgreSQL 15) that lacks a column of the new key would make the
server refuse every UPDATE and DELETE from the swap on.
"""

from control.keys.sides import Side
from control.stage import Closed
from sql.postgres.connection import Connection
from sql.postgres.facts import Table
from sql.postgres.keys import short_column_lists
from sql.postgres.unique import lists_without


def short(connection: Connection, new: Side) -> list[str]:
    """Each publication with the table whose column list is short, where a new key is the replica identity."""
    found = [line for key in new.keys for line in short_column_lists(connection, tree(key.was), key.columns)]
    return found + [
        line
        for one in new.uniques
        if one.original.replica_identity
        for line in lists_without(connection, one.was.oid, one.index.columns[-1])
    ]


def gate(connection: Connection, new: Side) -> Closed | None:
    """Keep the keys as they are until every column list holds the new ones."""
    found = short(connection, new)
    if not found:
        return None
    return Closed(
        tuple(f"publication {line} lacks a column of the new key: updates would fail" for line in found),
        "ALTER PUBLICATION … SET TABLE with the tenant's column in the list, once subscribers have it",
    )


def tree(table: Table) -> list[int]:
    """The oids of a table and of all its partitions."""
    return [part.oid for part in (table, *table.branches, *table.partitions)]
