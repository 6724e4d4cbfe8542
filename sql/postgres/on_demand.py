"""The catalog read table by table, when one is asked for: for whoever looks at one or two of very many.

A step asks whether it is done before its statement and after it, and as a rule of one table. With 200 tables
a look at all of them took 150 ms, and the 1,600 steps of a migration eight minutes of nothing else.
"""

from collections.abc import Iterator, Mapping, Sequence

from sql.postgres import catalog
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Table


class _Tables(Mapping[str, Table]):
    """Tables by name, each read when it is first asked for, and then kept."""

    def __init__(self, connection: Connection, names: Sequence[str]) -> None:
        self._connection = connection
        self._names = names
        self._read: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        if name not in self._read:
            if name not in self._names:
                raise KeyError(name)
            table = catalog.table(self._connection, name)
            if table is None:
                raise KeyError(name)
            self._read[name] = table
        return self._read[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def look(connection: Connection, names: Sequence[str]) -> Catalog:
    """The catalog with its tables as they will be when they are first asked for; nothing to keep.

    Raises:
        ValueError: not a table name.
    """
    there = catalog.found(connection, names)
    return catalog.read(connection, []).model_copy(update={"tables": _Tables(connection, there)})
