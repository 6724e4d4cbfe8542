"""The plan's indexes, built while everybody works.

Will do: every index of the plan, CONCURRENTLY, then the unique index of each new primary key. Those come
last of all: from then until the keys are swapped two unique keys stand side by side, and concurrent upserts
of one new key get 23505 from the one that is not their arbiter. Gate: none of its own. Undoing: dropped
CONCURRENTLY, except those that were there before the migration.

A CREATE INDEX CONCURRENTLY that was interrupted leaves an invalid index of that name, which writers keep up
and no reader uses. It is dropped and built again, but only where its definition is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from control import names
from control.plan.model import Plan
from control.plan.model import Table as PlanTable
from control.stage import Closed, Ground, How, Repair, Step
from sql.errors import CatalogError
from sql.postgres import catalog
from sql.postgres.catalog import Catalog, Index, Table
from sql.postgres.connection import Connection
from sql.postgres.indexes import STATEMENTS


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index to be built: a plain btree; `tablespace` None is the database's own.

    `table` is the table's name in the plan, `was` the table before the migration.
    """

    table: str
    was: Table
    name: str
    columns: tuple[str, ...]
    unique: bool = False
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tablespace: str | None = None

    def is_like(self, index: Index) -> bool:
        """Whether an index of that name is this one, valid or not."""
        return (
            index.plain
            and index.unique == self.unique
            and index.columns == self.columns
            and index.include == self.include
        )

    def is_there(self, live: Catalog) -> bool:
        """Whether it stands, complete."""
        index = live.table(self.table).index(self.name)
        return index is not None and self.is_like(index) and index.valid and index.ready


class Indexes:
    """The stage `indexes`."""

    name = "indexes"

    def gate(self, ground: Ground) -> Closed | None:  # noqa: ARG002  # adding takes nothing away
        """Nothing but the stages before it."""
        return None

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """Every index of every table, the unique ones for the new keys last."""
        for wanted in _of_the_plan(plan, original):
            yield build(wanted)
        yield from key_indexes(plan, original)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """What the stage built and was not there before."""
        for table in plan.tables:
            wanted = _for_the_key(table, original)
            if wanted is not None:
                yield drop(wanted)
        for wanted in reversed(list(_of_the_plan(plan, original))):
            if wanted.was.index(wanted.name) is None:
                yield drop(wanted)


def key_indexes(plan: Plan, original: Catalog) -> Iterator[Step]:
    """The unique index of each new primary key; done, too, once the key has taken it over."""
    for table in plan.tables:
        wanted = _for_the_key(table, original)
        if wanted is not None:
            yield build(wanted)


def build(wanted: Wanted) -> Step:
    """Build an index; where an earlier try left it invalid, that is dropped first.

    A unique index is also done once it has become the table's primary key.
    """

    def done(live: Catalog) -> bool:
        key = live.table(wanted.table).primary_key
        return wanted.is_there(live) or (wanted.unique and key is not None and key.columns == wanted.columns)

    return Step(
        what=f"{wanted.table}: index {wanted.name}",
        statement=STATEMENTS.create_index.compose(
            unique=sql.SQL("UNIQUE " if wanted.unique else ""),
            name=sql.Identifier(wanted.name),
            table=wanted.was.identifier,
            columns=_columns(wanted.columns),
            include=sql.SQL(" INCLUDE ({})").format(_columns(wanted.include))
            if wanted.include
            else sql.SQL(""),
            options=_options(wanted.options),
            tablespace=_tablespace(wanted.tablespace),
        ),
        lock="SHARE UPDATE EXCLUSIVE",
        done=done,
        how=How.ONLINE,
        tables=(wanted.was.identifier,),
        repair=Repair(_drop(wanted), lambda connection: _left_invalid(connection, wanted)),
    )


def drop(wanted: Wanted) -> Step:
    """Drop an index that the migration built, valid or not."""
    return Step(
        what=f"{wanted.table}: drop index {wanted.name}",
        statement=_drop(wanted),
        lock="SHARE UPDATE EXCLUSIVE",
        done=lambda live: live.table(wanted.table).index(wanted.name) is None,
        how=How.ONLINE,
        tables=(wanted.was.identifier,),
    )


def _of_the_plan(plan: Plan, original: Catalog) -> Iterator[Wanted]:
    for table in plan.tables:
        for index in table.indexes:
            yield Wanted(table.name, original.table(table.name), index.name, index.columns)


def _for_the_key(table: PlanTable, original: Catalog) -> Wanted | None:
    """The unique index of the new key, stored as the old one is; None where the key stays as it is."""
    was = original.table(table.name)
    old = was.primary_key
    if table.primary_key is None or (old is not None and old.columns == table.primary_key):
        return None
    return key_index(table.name, was, table.primary_key, names.incoming(names.primary_key(was)))


def key_index(table: str, was: Table, columns: tuple[str, ...], name: str) -> Wanted:
    """A unique index for a key on `columns`, with the INCLUDE, options and tablespace of the old key's."""
    old = was.index(was.primary_key.index) if was.primary_key and was.primary_key.index else None
    if old is None:
        return Wanted(table, was, name, columns, unique=True)
    include = tuple(column for column in old.include if column not in columns)
    return Wanted(table, was, name, columns, True, include, old.options, old.tablespace)


def _left_invalid(connection: Connection, wanted: Wanted) -> bool:
    table = catalog.read(connection, [wanted.table]).table(wanted.table)
    index = table.index(wanted.name)
    if index is None:
        return False
    if not wanted.is_like(index) or (index.valid and index.ready):
        raise CatalogError(
            f"{wanted.table} has another index called {wanted.name} ({index.definition}); "
            "give the plan's index another name, or drop that one"
        )
    return True


def _drop(wanted: Wanted) -> sql.Composed:
    return STATEMENTS.drop_index.compose(name=sql.Identifier(wanted.was.schema_, wanted.name))


def _columns(columns: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _options(options: tuple[str, ...]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    pairs = [option.partition("=") for option in options]
    return sql.SQL(" WITH ({})").format(
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, _, v in pairs)
    )


def _tablespace(name: str | None) -> sql.Composable:
    return sql.SQL("") if name is None else sql.SQL(" TABLESPACE {}").format(sql.Identifier(name))


STAGE = Indexes()
