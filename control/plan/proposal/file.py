"""Reads a SQLite file for a proposal."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from control.plan.model import Plan
from control.plan.proposal.reading import Counted, Edge, NotReadError
from control.plan.proposal.schema import Column, ForeignKey, Schema, Table
from control.sqlite.crossing import edges
from control.sqlite.tenants import proper
from sql.asked import Known, Untold
from sql.errors import FileBusyError
from sql.sqlite import catalog, facts, preflight, proposal
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog
from sql.sqlite.names import folded, quoted
from sql.sqlite.preflight import Rows
from sql.tenant_source import Lookup, Parent, chain

#: A question may take so long, in seconds.
LIMIT = 5.0
#: A table of so many rows is read whole; of a larger one so many are.
SMALL, SAMPLE_ROWS = 100_000, 5_000

Answer = TypeVar("Answer")


@dataclass(slots=True)
class FileReader:
    """A `Reader` of SQLite."""

    file: File
    live: Catalog = field(init=False)
    schema: Schema = field(init=False)
    unfit: dict[str, str] = field(init=False)
    where: str = field(init=False, default="in it")
    sentinel: str = field(init=False, default="null")
    has_row_security: bool = field(init=False, default=False)
    _large: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Read the schema, and which tables are large."""
        self.live = catalog.read(self.file)
        self.schema = {name: _table(table, self.live) for name, table in self.live.tables.items()}
        self.unfit = {
            name: "is a virtual table: SQLite can't alter it"
            for name, kind in self.live.others.items()
            if kind == "virtual"
        }
        for name, table in self.live.tables.items():
            if self._ask(lambda name=name: proposal.has_more(self.file, name, SMALL)):  # type: ignore[misc]
                self._large[name] = proposal.sample(self.file, table, SAMPLE_ROWS)

    @property
    def database(self) -> str:
        """The file."""
        return f"SQLite {self.file.path}"

    @property
    def taken(self) -> Iterable[str]:
        """Names that no index can get: indexes share theirs with tables."""
        yield from (index.name for table in self.live.tables.values() for index in table.indexes)
        yield from (*self.live.tables, *self.live.views, *self.live.others)

    def is_small(self, table: str) -> bool:
        """Whether a table is read whole."""
        return table not in self._large

    def quoted(self, name: str) -> str:
        """A column's name as SQL, in quotes where it needs them."""
        return proposal.as_needed(self.file, name)

    def known_in_column(self, table: str, column: str) -> Known:
        """How many rows have a value in a column."""
        return self._ask(lambda: proposal.known_in_column(self.file, self._rows(table), column))

    def known_in_document(self, table: str, column: str, keys: Sequence[str]) -> Known | None:
        """The first of the keys that any row has in a column of JSON texts."""
        return self._ask(lambda: proposal.known_in_json(self.file, self._rows(table), column, keys))

    def called(self, table: str, column: str, pattern: str) -> tuple[bool, bool]:
        """Whether a column holds a proper tenant in every row, and another one in each."""
        found = self._ask(lambda: proposal.values(self.file, self._rows(table), column))
        return (
            all(value is not None and proper(pattern, value) for value in found),
            all(rows == 1 for rows in found.values()),
        )

    def found_there(self, table: str, column: str, other: str, key: str) -> tuple[int, int]:
        """Some values of a column, and those of them that a key of another table has: how many."""
        return self._ask(lambda: proposal.found_there(self.file, self._rows(table), column, other, key))

    def untold(self, table: str, source: Lookup | Parent) -> Untold:
        """Rows that a source tells nothing of."""
        leader = source.parent if isinstance(source, Parent) else source.lookup
        return self._ask(lambda: proposal.untold(self.file, self._rows(table), leader, source.on))

    def counted(self, plan: Plan, table: str) -> Counted:
        """Rows of a table by their tenants."""
        rows = self._planned(plan, table)
        found = self._ask(lambda: rows.tenants(table))
        unfilled = found.pop(None, 0)
        malformed = {
            name: count for name, count in found.items() if name and not proper(plan.tenant.pattern, name)
        }
        return Counted(
            total=unfilled + sum(found.values()),
            unfilled=unfilled,
            examples=self._ask(lambda: rows.unresolved(table)) if unfilled else [],
            malformed=sum(malformed.values()),
            malformed_tenants=sorted(malformed)[:3],
        )

    def edges(self, plan: Plan) -> Iterator[Edge]:
        """What could lead to other tenants' rows."""
        for edge in edges(plan, self.live):
            yield Edge(edge.table, edge.parent, edge.by, dict(edge.pairs))

    def crossing(self, plan: Plan, edge: Edge) -> tuple[int, str]:
        """How many rows do by this edge, and one of them."""
        rows = self._planned(plan, edge.table)
        self._planned(plan, edge.parent)
        found = [
            row
            for row in self._ask(lambda: rows.crossing(edge.table, edge.parent, edge.on))
            if proper(plan.tenant.pattern, row["tenant"]) and proper(plan.tenant.pattern, row["other"])
        ]
        return sum(row["rows"] for row in found), min((str(row["example"]) for row in found), default="")

    def _planned(self, plan: Plan, table: str) -> Rows:
        """The plan's tables as they will be, a large one by a sample where it is asked itself.

        Raises:
            NotReadError: it takes its tenants from a large tree, which is read whole or not at all.
        """
        waiting, seen = [plan.table(table)], set()
        while waiting:
            here = waiting.pop()
            seen.add(here.name)
            is_tree = here.name in {one.parent for one in chain(here.tenant) if isinstance(one, Parent)}
            if is_tree and not self.is_small(here.name):
                raise NotReadError(f"{here.name} is a tree, too large to walk in passing")
            waiting += [plan.table(name) for name in here.parents if name not in seen]
        some = {table: self._large[table]} if table in self._large else {}
        sources = {one.name: plan.source_of(one) for one in plan.tables}
        return Rows(self.file, sources, self.live, some)

    def _rows(self, table: str) -> str:
        """The rows to look at, for a FROM."""
        return self._large.get(table, quoted(table))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        """Ask under the limit.

        Raises:
            NotReadError: not in time, somebody is in the way, or SQLite can't.
        """
        try:
            with preflight.limited(self.file, LIMIT):
                return question()
        except preflight.TooLongError:
            raise NotReadError(f"that took more than {LIMIT:g} s") from None
        except FileBusyError:
            raise NotReadError("another connection was in the way") from None
        except sqlite3.Error as error:
            raise NotReadError(f"SQLite says: {error}") from None


def _table(table: facts.Table, live: Catalog) -> Table:
    return Table(
        name=table.name,
        bare=table.name,
        columns=tuple(map(_column, table.columns)),
        foreign_keys=tuple(
            ForeignKey(
                # Names of foreign keys mean nothing to SQLite.
                name=", ".join(key.columns),
                columns=key.columns,
                target=target.name if (target := live.find(key.target)) is not None else None,
                target_columns=key.target_columns,
                owns=key.on_delete == "CASCADE",
            )
            for key in table.foreign_keys
            if len(key.columns) == len(key.target_columns)
        ),
        alone=_alone(table),
        primary_key=table.primary_key or None,
        uniques=tuple(
            (index.name, tuple(name or "" for name in index.columns))
            for index in table.indexes
            if index.unique and index.origin != "pk"
        ),
        note="" if table.primary_key else "has no primary key, and gets none",
    )


def _column(column: facts.Column) -> Column:
    affinity = facts.affinity(column.type)
    return Column(
        name=column.name,
        type=affinity,
        not_null=column.not_null or column.key > 0,
        is_text=affinity in {"TEXT", "BLOB"} and "BLOB" not in column.type.upper(),
        is_document=affinity == "TEXT" or folded(column.type) in {"json", "jsonb"},
    )


def _alone(table: facts.Table) -> tuple[str, ...]:
    """The columns that are unique by themselves."""
    unique = [
        index.columns[0]
        for index in table.indexes
        if index.unique and not index.partial and len(index.columns) == 1 and index.columns[0] is not None
    ]
    key = table.primary_key
    return tuple(dict.fromkeys([*(key if len(key) == 1 else ()), *unique]))
