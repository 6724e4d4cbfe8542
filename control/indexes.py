"""One index, built or dropped while everybody works.

A CREATE INDEX CONCURRENTLY that was interrupted leaves an invalid index of that name, which writers keep up
and no reader uses. It is dropped and built again, but only where its definition is ours.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from psycopg import sql

from control.stage import How, Repair, Step
from sql.errors import CatalogError
from sql.postgres import catalog
from sql.postgres.catalog import verbatim
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Index, IndexKey, Table
from sql.postgres.indexes import STATEMENTS


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index to be built: a plain btree, or as `keys` say; `tablespace` None is the database's own.

    `table` is the table's name in the plan, `was` the table before the migration, or the partition of it that
    the index is on. `keys` are what the first of its `columns` are, in whatever order and collation; with
    them it has the `predicate` too, and may hold NULL once only.
    """

    table: str
    was: Table
    name: str
    columns: tuple[str, ...]
    unique: bool = False
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tablespace: str | None = None
    keys: tuple[IndexKey, ...] = ()
    nulls_not_distinct: bool = False
    predicate: str | None = None

    def find(self, live: Catalog) -> Table | None:
        """The table or partition as it is now; None for a partition that is none any more."""
        top = live.table(self.table)
        named = (self.was.schema_, self.was.name)
        parts = (top, *top.branches, *top.partitions)
        return next((part for part in parts if (part.schema_, part.name) == named), None)

    def is_like(self, index: Index) -> bool:
        """Whether an index of that name is this one, valid or not."""
        return (
            (index.plain or bool(self.keys))
            and index.unique == self.unique
            and index.columns == self.columns
            and index.include == self.include
            and index.keys[: len(self.keys)] == self.keys
            and index.nulls_not_distinct == self.nulls_not_distinct
            and index.predicate == self.predicate
        )

    def in_place(self, table: Table) -> Index | None:
        """What serves as this index in a table as it is now: it, or one of others' that is like it.

        While one of its own name stands, whole or not, no other takes its place. Not taken is one that a
        constraint owns, or that is part of a partitioned index: it may go with that.
        """
        named = table.index(self.name)
        if named is not None:
            return named if self.is_like(named) and named.valid and named.ready else None
        return next(
            (
                index
                for index in table.indexes
                if self.is_like(index)
                and index.valid
                and index.ready
                and index.constraint is None
                and index.attached_to is None
            ),
            None,
        )

    def adopted(self, live: Catalog) -> Index | None:
        """An index of another name that serves as this one."""
        table = self.find(live)
        index = self.in_place(table) if table is not None else None
        return index if index is not None and index.name != self.name else None

    def is_there(self, live: Catalog) -> bool:
        """Whether it stands, complete."""
        table = self.find(live)
        index = table.index(self.name) if table is not None else None
        return index is not None and self.is_like(index) and index.valid and index.ready


def build(wanted: Wanted) -> Step:
    """Build an index; where an earlier try left it invalid, that is dropped first.

    A unique index is also done once it has become the table's primary key, and one of a partition once that
    is none any more.
    """

    def done(live: Catalog) -> bool:
        table = wanted.find(live)
        if table is None or wanted.is_there(live):
            return True
        key = table.primary_key
        return wanted.unique and key is not None and key.columns == wanted.columns

    return Step(
        what=f"{wanted.table}: index {wanted.name}",
        statement=STATEMENTS.create_index.compose(
            unique=sql.SQL("UNIQUE " if wanted.unique else ""),
            name=sql.Identifier(wanted.name),
            table=wanted.was.identifier,
            columns=_keys(wanted),
            include=include_of(wanted.include),
            nulls=sql.SQL(" NULLS NOT DISTINCT" if wanted.nulls_not_distinct else ""),
            options=_options(wanted.options),
            tablespace=_tablespace(wanted.tablespace),
            predicate=_predicate(wanted.predicate),
        ),
        lock="SHARE UPDATE EXCLUSIVE",
        done=done,
        how=How.ONLINE,
        tables=(wanted.was.identifier,),
        repair=Repair(_drop(wanted), lambda connection: _left_invalid(connection, wanted)),
    )


def unless_adopted(wanted: Wanted, steps: Iterable[Step]) -> Iterator[Step]:
    """The steps that build an index; they are done where one of another name serves as it.

    That one stays whose it is: nothing is renamed, and the way back leaves it. A key's index is never
    adopted: the key would take it away, and the way back could not give it back.
    """

    def instead(live: Catalog) -> str | None:
        other = wanted.adopted(live)
        if other is None:
            return None
        served = f"{wanted.table}: index {other.name} serves as {wanted.name}"
        return f"{served}, which is not built: {other.definition}"

    for number, step in enumerate(steps):

        def done(live: Catalog, done: Callable[[Catalog], bool] = step.done) -> bool:
            return done(live) or wanted.adopted(live) is not None

        yield replace(step, done=done, instead=instead if number == 0 else None)


def drop(wanted: Wanted) -> Step:
    """Drop an index that the migration built, valid or not."""
    return Step(
        what=f"{wanted.table}: drop index {wanted.name}",
        statement=_drop(wanted),
        lock="SHARE UPDATE EXCLUSIVE",
        done=lambda live: (table := wanted.find(live)) is None or table.index(wanted.name) is None,
        how=How.ONLINE,
        tables=(wanted.was.identifier,),
    )


def key_index(table: str, was: Table, columns: tuple[str, ...], name: str) -> Wanted:
    """A unique index for a key on `columns`, with the INCLUDE, options and tablespace of the old key's."""
    old = was.index(was.primary_key.index) if was.primary_key and was.primary_key.index else None
    if old is None:
        return Wanted(table, was, name, columns, unique=True)
    include = tuple(column for column in old.include if column not in columns)
    return Wanted(table, was, name, columns, True, include, old.options, old.tablespace)


def _left_invalid(connection: Connection, wanted: Wanted) -> bool:
    table = wanted.find(catalog.read(connection, [wanted.table]))
    index = table.index(wanted.name) if table is not None else None
    if index is None:
        return False
    if not wanted.is_like(index) or (index.valid and index.ready):
        raise CatalogError(
            f"{wanted.was.name} has another index called {wanted.name} ({index.definition}); "
            "give the plan's index another name, or drop that one"
        )
    return True


def _drop(wanted: Wanted) -> sql.Composed:
    return STATEMENTS.drop_index.compose(name=sql.Identifier(wanted.was.schema_, wanted.name))


def columns_of(columns: tuple[str, ...]) -> sql.Composed:
    """A list of columns."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def include_of(columns: tuple[str, ...]) -> sql.Composable:
    """What an index holds beside its key."""
    return sql.SQL(" INCLUDE ({})").format(columns_of(columns)) if columns else sql.SQL("")


def _keys(wanted: Wanted) -> sql.Composed:
    said = [verbatim(written(key)) for key in wanted.keys]
    return sql.SQL(", ").join([*said, *map(sql.Identifier, wanted.columns[len(said) :])])


def written(key: IndexKey) -> str:
    """A key as CREATE INDEX takes it."""
    collation = f" COLLATE {key.collation}" if key.collation else ""
    order = f"{'DESC' if key.descending else 'ASC'} NULLS {'FIRST' if key.nulls_first else 'LAST'}"
    return f"{key.sql}{collation} {key.operators} {order}"


def _options(options: tuple[str, ...]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    pairs = [option.partition("=") for option in options]
    return sql.SQL(" WITH ({})").format(
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, _, v in pairs)
    )


def _tablespace(name: str | None) -> sql.Composable:
    return sql.SQL("") if name is None else sql.SQL(" TABLESPACE {}").format(sql.Identifier(name))


def _predicate(predicate: str | None) -> sql.Composable:
    return sql.SQL("") if predicate is None else sql.SQL(" WHERE {}").format(verbatim(predicate))
