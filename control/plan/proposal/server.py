"""Reads a PostgreSQL database for a proposal.

Of a large table some pages are read, spread over all of it: as many whatever its size.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from psycopg import errors, sql

from control.jobs import key_of
from control.keys import crossing, unique
from control.plan.model import Plan
from control.plan.proposal.reading import Counted, Edge, NotReadError
from control.plan.proposal.schema import Column, ForeignKey, Schema, Table
from control.preflight import rows
from sql.asked import Known, Untold
from sql.postgres import catalog, facts, preflight, proposal
from sql.postgres.connection import Connection, describe
from sql.postgres.facts import Catalog
from sql.tenant_source import Lookup, Parent, chain, qualified

#: A question may take so long, in milliseconds.
LIMIT_MS = 5_000
#: A table of so many bytes, with its indexes, is read whole: some 100,000 narrow rows.
SMALL = 16_000_000
#: Of a larger one so many bytes are read, and so many of the rows in them.
SAMPLE_BYTES, SAMPLE_ROWS = 2_000_000, 5_000

#: Types of columns that hold a tenant's name, and of those that hold JSON.
_TEXT = ("text", "character varying")
_DOCUMENTS = frozenset({"json", "jsonb"})

Answer = TypeVar("Answer")


@dataclass(slots=True)
class ServerReader:
    """A `Reader` of PostgreSQL."""

    connection: Connection
    live: Catalog = field(init=False)
    schema: Schema = field(init=False)
    unfit: dict[str, str] = field(init=False)
    has_row_security: bool = field(init=False, default=True)
    where: str = field(init=False, default="in the search path")
    sentinel: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Read the catalog."""
        found = proposal.tables(self.connection)
        self.live = catalog.read(self.connection, [table.plan_name for table in found])
        called = {(table.schema_, table.name): name for name, table in self.live.tables.items()}
        self.schema = {name: _table(name, table, called) for name, table in self.live.tables.items()}
        self.unfit = {
            table.plan_name: reason for table in found if (reason := _unfit(table, self.live)) is not None
        }

    @property
    def database(self) -> str:
        """The server and the database."""
        return describe(self.connection.info.dsn)

    @property
    def taken(self) -> Iterable[str]:
        """The names of all indexes."""
        return (index.name for table in self.live.tables.values() for index in table.indexes)

    def is_small(self, table: str) -> bool:
        """Whether a table is read whole."""
        return self.live.tables[table].bytes <= SMALL

    def quoted(self, name: str) -> str:
        """A column's name as SQL, in quotes where it needs them."""
        return proposal.quoted(self.connection, name)

    def known_in_column(self, table: str, column: str) -> Known:
        """How many rows have a value in a column."""
        return self._ask(lambda: proposal.known_in_column(self.connection, self._rows(table), column))

    def known_in_document(self, table: str, column: str, keys: Sequence[str]) -> Known | None:
        """The first of the keys that any row has in a json or jsonb column."""
        return self._ask(lambda: proposal.known_in_json(self.connection, self._rows(table), column, keys))

    def called(self, table: str, column: str, pattern: str) -> tuple[bool, bool]:
        """Whether a column holds a proper tenant in every row, and another one in each."""
        return self._ask(lambda: proposal.called(self.connection, self._rows(table), column, pattern))

    def found_there(self, table: str, column: str, other: str, key: str) -> tuple[int, int]:
        """Some values of a column, and those of them that a key of another table has: how many."""
        there = self.live.tables[other].identifier
        return self._ask(lambda: proposal.found_there(self.connection, self._rows(table), column, there, key))

    def untold(self, table: str, source: Lookup | Parent) -> Untold:
        """Rows that a source tells nothing of."""
        leader = source.parent if isinstance(source, Parent) else source.lookup
        there = self.live.tables[leader].identifier if leader in self.live.tables else qualified(leader)
        return self._ask(lambda: proposal.untold(self.connection, self._rows(table), there, source.on))

    def counted(self, plan: Plan, table: str) -> Counted:
        """Rows of a table by their tenants."""
        original, key = self._planned(plan), [column.name for column in key_of(self.live.table(table))]
        some = self._some(plan, table)
        found, examples = self._ask(
            lambda: rows.counted(
                self.connection, rows.planned(plan, original, table, some), key, plan.tenant.pattern
            )
        )
        return Counted(found.total, found.unfilled, examples, found.malformed, found.malformed_tenants)

    def edges(self, plan: Plan) -> Iterator[Edge]:
        """What could lead to other tenants' rows."""
        for edge in crossing.edges(plan, self._planned(plan)):
            yield Edge(edge.table, edge.parent, edge.key.name, dict(edge.pairs))

    def crossing(self, plan: Plan, edge: Edge) -> tuple[int, str]:
        """How many rows do by this edge, and one of them."""
        original, some = self._planned(plan), self._some(plan, edge.table)
        self._some(plan, edge.parent)
        found = self._ask(
            lambda: preflight.crossing(
                self.connection,
                rows.planned(plan, original, edge.table, some),
                rows.planned(plan, original, edge.parent),
                list(edge.on.items()),
                pattern=plan.tenant.pattern,
            )
        )
        return found.rows, str(found.example)

    def _planned(self, plan: Plan) -> Catalog:
        """The catalog of the plan's tables alone."""
        return self.live.model_copy(
            update={"tables": {table.name: self.live.tables[table.name] for table in plan.tables}}
        )

    def _rows(self, table: str) -> sql.Composable:
        """The rows to look at, for a FROM."""
        there = self.live.tables[table]
        if self.is_small(table):
            return there.identifier
        share = min(100.0, 100 * SAMPLE_BYTES / there.bytes)
        return proposal.sample(there.identifier, share=share, most=SAMPLE_ROWS)

    def _some(self, plan: Plan, table: str) -> sql.Composable | None:
        """The rows to look at, where not all are.

        Raises:
            NotReadError: they take their tenants from a large tree, which is read whole or not at all.
        """
        waiting, seen = [plan.table(table)], set()
        while waiting:
            here = waiting.pop()
            seen.add(here.name)
            is_tree = here.name in {one.parent for one in chain(here.tenant) if isinstance(one, Parent)}
            if is_tree and not self.is_small(here.name):
                raise NotReadError(f"{here.name} is a tree, too large to walk in passing")
            waiting += [plan.table(name) for name in here.parents if name not in seen]
        return None if self.is_small(table) else self._rows(table)

    def _ask(self, question: Callable[[], Answer]) -> Answer:
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


def _unfit(table: proposal.Found, live: Catalog) -> str | None:
    if not table.visible:
        return "is outside the search path"
    there = live.tables.get(table.plan_name)
    if there is None:
        return "went away while it was read"
    return "has parents or children by INHERITS" if there.inherits else None


def _table(name: str, table: facts.Table, called: dict[tuple[str, str], str]) -> Table:
    key = table.primary_key
    return Table(
        name=name,
        bare=table.name,
        columns=tuple(
            Column(
                name=column.name,
                type=column.type,
                not_null=column.not_null,
                is_text=column.type.startswith(_TEXT),
                is_document=column.type in _DOCUMENTS,
                generated=column.generated,
            )
            for column in table.columns
        ),
        foreign_keys=tuple(
            ForeignKey(
                name=one.name,
                columns=one.columns,
                target=called.get((one.target_schema, one.target)),
                target_columns=one.target_columns,
                owns=one.on_delete == "c",
            )
            for one in table.foreign_keys
        ),
        alone=tuple(
            index.columns[0]
            for index in table.indexes
            if index.unique and index.valid and index.btree_columns and len(index.columns) == 1
        ),
        primary_key=key.columns if key is not None else None,
        uniques=tuple((index.name, index.columns) for index in unique.candidates(table, "")),
        builds=table.kind != "p",
        note=_note(table),
    )


def _note(table: facts.Table) -> str:
    if table.kind == "p":
        return "is partitioned: column and backfill are proposed; indexes and primary_key may be added"
    return "has no primary key, and gets none" if table.primary_key is None else ""
