"""Unique constraints and indexes that are to hold within each tenant: both sides of them, and the steps.

The tenant comes last in them: whoever looks a value up along the old one, in all tenants or in one, does so
along the new one too. (What lists the rows of a tenant has the plan's own indexes.) The new one is built
beside the old one, with its order, collations, INCLUDE, predicate and storage, and in one transaction it
takes its name, with all that hangs on that.

While both stand the old one still holds, so nothing is lost but the patience of a DEFERRABLE one: an index is
checked row by row until it is its constraint's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from psycopg import sql

from control import indexes, names
from control.indexes import Wanted
from control.keys.clauses import deferrable_as, kept, together
from control.plan.model import Plan, nearest
from control.plan.sections import Table as PlanTable
from control.stage import Step
from sql.errors import CatalogError, PlanError
from sql.postgres.catalog import verbatim
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog, Constraint, Index, Table
from sql.postgres.unique import STATEMENTS


@dataclass(frozen=True, slots=True)
class Unique:
    """A unique constraint or index on one side.

    `table` is the table's name in the plan, `was` the table before the migration, `original` the index before
    it, and `index` what is built while the other side's still stands.
    """

    table: str
    was: Table
    original: Index
    index: Wanted

    @property
    def name(self) -> str:
        """The name of it on both sides."""
        return self.original.name

    @property
    def constraint(self) -> Constraint | None:
        """The constraint before the migration; None for a bare index."""
        return self.was.constraint(self.original.constraint or "")

    def find(self, live: Catalog) -> Index | None:
        """This side's as it is now, under the name that both have; None where the other side's stands."""
        found = live.table(self.table).index(self.name)
        return found if found is not None and self.is_like(found) else None

    def is_like(self, index: Index) -> bool:
        """Whether an index of that name is this side's, valid or not."""
        return self.index.is_like(index) and index.constraint == self.original.constraint

    def is_there(self, live: Catalog) -> bool:
        """Whether this side's stands, complete."""
        found = self.find(live)
        return found is not None and found.valid


def check(plan: Plan, original: Catalog) -> None:
    """Look whether the plan names what there is.

    Raises:
        PlanError: names the line.
    """
    for table in plan.tables:
        for name in table.unique:
            _named(plan, table, original.table(table.name), name)


def pairs(plan: Plan, original: Catalog) -> Iterator[tuple[Unique, Unique]]:
    """Each of them on the old side and on the new one.

    Raises:
        PlanError: the plan names what isn't there, or isn't unique, or holds the tenant already.
        CatalogError: one that can't be exchanged: of a partitioned table, or no btree.
    """
    for table in plan.tables:
        yield from pairs_of(plan, table, original.table(table.name))


def pairs_of(plan: Plan, table: PlanTable, was: Table) -> Iterator[tuple[Unique, Unique]]:
    """Those of one table; raises what `pairs` raises."""
    for name in table.unique:
        old = _named(plan, table, was, name)
        _refuse(table, was, old)
        yield (
            Unique(table.name, was, old, _wanted(table, was, old, names.returning(name), ())),
            Unique(
                table.name, was, old, _wanted(table, was, old, names.incoming(name), (plan.tenant.column,))
            ),
        )


def _named(plan: Plan, table: PlanTable, was: Table, name: str) -> Index:
    def wrong(message: str) -> PlanError:
        at = next(at for at, other in enumerate(plan.tables) if other.name == table.name)
        return plan.wrong(message, "tables", at, "unique", table.unique.index(name))

    found = was.index(name)
    if found is None:
        there = [index.name for index in candidates(was, plan.tenant.column)]
        raise wrong(f"{table.name} has no unique constraint or index {name!r}{nearest(name, there)}")
    if was.primary_key is not None and was.primary_key.index == name:
        raise wrong(f"{name!r} is the primary key of {table.name}; `primary_key` says what becomes of that")
    if not found.unique:
        raise wrong(f"{name!r} of {table.name} is not unique: {found.definition}")
    if plan.tenant.column in found.columns:
        raise wrong(f"{name!r} of {table.name} holds {plan.tenant.column} already; leave it out of `unique`")
    if not (found.valid and found.ready):
        raise wrong(f"{name!r} of {table.name} is invalid; REINDEX it first, or leave it out of `unique`")
    return found


def candidates(was: Table, tenant: str) -> Iterator[Index]:
    """What of a table could become unique per tenant."""
    if was.kind == "p":
        return
    for index in was.indexes:
        if index.keys and index.valid and index.ready and tenant not in index.columns:
            yield index


def _refuse(table: PlanTable, was: Table, old: Index) -> None:
    if was.kind == "p":
        raise CatalogError(
            f"{old.name} of {table.name} would have to become unique per tenant partition by partition, "
            "which is not built; leave it out of `unique`, and exchange it yourself"
        )
    if not old.keys:
        raise CatalogError(
            f"{old.name} of {table.name} is no btree ({old.definition}), and an index built beside it can't "
            "take its place; leave it out of `unique`"
        )


def _wanted(table: PlanTable, was: Table, old: Index, name: str, added: tuple[str, ...]) -> Wanted:
    return Wanted(
        table.name,
        was,
        name,
        (*old.columns, *added),
        unique=True,
        include=tuple(column for column in old.include if column not in added),
        options=old.options,
        tablespace=old.tablespace,
        keys=old.keys,
        nulls_not_distinct=old.nulls_not_distinct,
        predicate=old.predicate,
    )


def build(unique: Unique) -> Step:
    """Build a side's index beside the other side's; done, too, once it has taken its place."""

    def done(live: Catalog) -> bool:
        return unique.index.is_there(live) or unique.is_there(live)

    return replace(indexes.build(unique.index), done=done)


def drop(unique: Unique) -> Step:
    """Drop what a walk the other way, broken off, has built of a side and not put in its place."""
    return indexes.drop(unique.index)


def swap(before: Unique, after: Unique) -> Step:
    """Take one for the other, with all that hangs on its name, in one transaction."""
    index, was, constraint = sql.Identifier(after.index.name), after.was, after.constraint
    if constraint is not None:
        statements = [
            STATEMENTS.swap_constraint.compose(
                table=was.identifier,
                name=sql.Identifier(constraint.name),
                index=index,
                deferrable=deferrable_as(deferrable=constraint.deferrable, deferred=constraint.deferred),
            )
        ]
    else:
        statements = [
            STATEMENTS.drop_index.compose(name=sql.Identifier(was.schema_, before.name)),
            STATEMENTS.rename_index.compose(
                name=sql.Identifier(was.schema_, after.index.name), to=sql.Identifier(after.name)
            ),
        ]
    statements += kept(was, constraint, after.original)
    statements += [
        STATEMENTS.set_statistics.compose(
            name=sql.Identifier(was.schema_, after.name),
            number=sql.Literal(number),
            target=sql.Literal(target),
        )
        for number, target in after.original.statistics.items()
    ]
    columns = ", ".join(after.index.columns)
    return Step(
        what=f"{after.table}: {after.name} is unique by ({columns})",
        statement=together(statements),
        lock="ACCESS EXCLUSIVE",
        done=after.is_there,
        tables=(was.identifier,),
    )


def shared(connection: Connection, old: Unique, tenant: str) -> str | None:
    """Why an old one can't come back: a value that stands in two tenants; None if there is none.

    Reads every row that the index holds. NULLs are each other's equals only where the index says so.
    """
    index = old.original
    values = [f"({key.sql} COLLATE {key.collation})" if key.collation else key.sql for key in index.keys]
    held = [f"({index.predicate})"] if index.predicate is not None else []
    if not index.nulls_not_distinct:
        held += [f"{key.sql} IS NOT NULL" for key in index.keys]
    statement = STATEMENTS.shared_value.compose(
        keys=sql.SQL(", ").join(map(verbatim, values)),
        # Of one collation, or the server doesn't know in which to put them together.
        values=sql.SQL(", ").join(verbatim(f'{value}::text COLLATE "C"') for value in values),
        tenant=sql.Identifier(tenant),
        table=old.was.identifier,
        held=verbatim(" AND ".join(held) or "true"),
    )
    found = connection.execute(statement).fetchone()
    if found is None:
        return None
    value, one, other = found
    what = ", ".join(index.columns)
    return (
        f"{old.table}: {what} = {value} is there for tenant {one!r} and for {other!r}, so {old.name} can't "
        "be unique in all tenants again; only deleting or changing rows would undo this"
    )
