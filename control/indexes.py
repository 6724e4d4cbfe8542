"""One index, built or dropped while everybody works.

A CREATE INDEX CONCURRENTLY that was interrupted leaves an invalid index of that name, which writers keep up
and no reader uses. It is dropped and built again, but only where its definition is ours.
"""

from dataclasses import dataclass

from psycopg import sql

from control.stage import How, Repair, Step
from sql.errors import CatalogError
from sql.postgres import catalog
from sql.postgres.catalog import Catalog, Index, Table
from sql.postgres.connection import Connection
from sql.postgres.indexes import STATEMENTS


@dataclass(frozen=True, slots=True)
class Wanted:
    """An index to be built: a plain btree; `tablespace` None is the database's own.

    `table` is the table's name in the plan, `was` the table before the migration, or the partition of it that
    the index is on.
    """

    table: str
    was: Table
    name: str
    columns: tuple[str, ...]
    unique: bool = False
    include: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    tablespace: str | None = None

    def find(self, live: Catalog) -> Table | None:
        """The table or partition as it is now; None for a partition that is none any more."""
        top = live.table(self.table)
        named = (self.was.schema_, self.was.name)
        parts = (top, *top.branches, *top.partitions)
        return next((part for part in parts if (part.schema_, part.name) == named), None)

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
            columns=columns_of(wanted.columns),
            include=include_of(wanted.include),
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


def _options(options: tuple[str, ...]) -> sql.Composable:
    if not options:
        return sql.SQL("")
    pairs = [option.partition("=") for option in options]
    return sql.SQL(" WITH ({})").format(
        sql.SQL(", ").join(sql.SQL("{} = {}").format(sql.Identifier(k), sql.Literal(v)) for k, _, v in pairs)
    )


def _tablespace(name: str | None) -> sql.Composable:
    return sql.SQL("") if name is None else sql.SQL(" TABLESPACE {}").format(sql.Identifier(name))
