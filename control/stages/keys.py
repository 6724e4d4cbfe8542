"""The composite keys, exchanged while everybody writes.

Will do, each line in a transaction of its own (the unique index of the new key stands since `indexes`):

1. each foreign key with the tenant in it, NOT VALID, beside the old one, leaning on that index;
2. validate it: from here on both hold;
3. drop the old foreign keys;
4. table by table drop the old key and make the index the primary key, in one statement, and so what is to be
   unique within each tenant (`control.keys.unique`); what leans on the old key, foreign keys from outside the
   plan and views, is let go and comes again in the same transaction (`control.keys.outside`, `.views`);
5. give the foreign keys their old names, and comments, replica identity and the like back.

So integrity is never open and the longest lock takes milliseconds. A partitioned table's key is exchanged
partition by partition, in one transaction. Gate: every partition is known; and `application` is before it,
because old code that upserts on the old key stops working at 4. The column's default is left alone here: it
belongs to the write guard (`control.guard`), which goes in `verify`.

Undoing is the same walk the other way, with the old key's unique index built first. It is impossible once an
old key, or what was unique, stands in two tenants: `cannot_undo` says so beforehand.
"""

from collections.abc import Iterator

from psycopg import sql

from control import indexes, partitioned_indexes
from control.keys import (
    crossing,
    not_null,
    outside,
    partitioned_references,
    publications,
    references,
    unique,
    views,
)
from control.keys.clauses import identifiers
from control.keys.sides import Key, Reference, Side, sides
from control.keys.swap import swap
from control.plan.model import Plan
from control.stage import Closed, Ground, Step
from control.stages import columns
from sql.errors import GateClosedError
from sql.postgres import catalog
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from sql.postgres.keys import STATEMENTS


class Keys:
    """The stage `keys`."""

    name = "keys"

    def gate(self, ground: Ground) -> Closed | None:
        """Every partition is known, every publication sends the new key, and no edge crosses.

        The real gate is `application`, before it.
        """
        live = catalog.read(ground.connection, [table.name for table in ground.plan.tables])
        come = partitioned_indexes.others(ground.plan, ground.original, live)
        sends = come or publications.gate(ground.connection, sides(ground.plan, ground.original)[1])
        return sends or crossing.gate(ground)

    def steps(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """From the old side to the new one."""
        old, new = sides(plan, original)
        for key in _holding(plan, new):
            for column in _nullable(plan, key):
                yield from not_null.declare(key, column)
        for key in old.keys:
            if key.stays_unique:
                yield from map(outside.keep, key.indexes)
        yield from _walk(old, new, original.server_version)

    def undo(self, plan: Plan, original: Catalog) -> Iterator[Step]:
        """From the new side to the old one."""
        old, new = sides(plan, original)
        yield from _walk(new, old, original.server_version)
        for key in old.keys:
            if key.stays_unique:  # what a walk there has left of it that was broken off before the swap
                yield from map(indexes.drop, key.indexes)
        for key in _holding(plan, new):
            for column in _nullable(plan, key):
                yield from not_null.allow(key, column)

    def no_way_back(self, ground: Ground) -> Closed | None:
        """Look for an old key that stands in two tenants."""
        reason = cannot_undo(ground.connection, ground.plan, ground.original)
        if reason is None:
            return None
        return Closed((reason,), f"`tenantry rollback --to {self.name}` goes back as far as it can")


STAGE = Keys()


def cannot_undo(connection: Connection, plan: Plan, original: Catalog) -> str | None:
    """Why the old keys can't come back: the first old key that stands in two tenants; None if they can.

    Reads the index of each composite key from end to end.
    """
    old, _ = sides(plan, original)
    live = catalog.read(connection, [table.name for table in plan.tables])
    tenant = sql.Identifier(plan.tenant.column)
    for key in old.keys:
        if not key.columns or key.is_there(live):
            continue
        statement = STATEMENTS.shared_key.compose(
            key=identifiers(key.columns), tenant=tenant, table=key.was.identifier
        )
        found = connection.execute(statement).fetchone()
        if found is not None:
            value, one, other = found
            return (
                f"{key.table}: {', '.join(key.columns)} = {value} is there for tenant {one!r} and for "
                f"{other!r}, so it can't be the key alone again; only deleting rows would undo this"
            )
    there = (
        unique.shared(connection, one, plan.tenant.column) for one in old.uniques if not one.is_there(live)
    )
    return next((reason for reason in there if reason is not None), None)


def _holding(plan: Plan, new: Side) -> Iterator[Key]:
    """The keys that will hold the tenant, and what stands for them where only something unique does.

    A NULL would be in no tenant, and its values as often as one likes.
    """
    yield from new.keys
    keyed = {key.table for key in new.keys}
    for name, was in {one.table: one.was for one in new.uniques if one.table not in keyed}.items():
        yield Key(name, was, (plan.tenant.column,), ())


def _walk(out_of: Side, into: Side, server_version: int) -> Iterator[Step]:
    for key in into.keys:
        if key.columns:
            yield from map(indexes.build, key.indexes)
    yield from map(unique.build, into.uniques)
    yield from _added(into, server_version)
    for reference in _beside(out_of):
        yield references.drop(reference, reference.name)
        # A walk the other way that was broken off leaves it under this name.
        yield references.drop(reference, reference.temporary)
        yield from partitioned_references.drop_parts(reference)
    for key in out_of.keys:
        if key.columns and not key.stays_unique:
            yield from map(indexes.drop, key.indexes)
    yield from map(unique.drop, out_of.uniques)
    for before, after in zip(out_of.keys, into.keys, strict=True):
        swapped = views.around(swap(before, after, _nobody_came), after.was, after.columns)
        swapped = outside.around(swapped, after.outside)
        coming = _within(into, after)
        yield partitioned_references.around(
            swapped, _within(out_of, after), coming, server_version=server_version
        )
        yield from outside.validate(after.outside, after.is_there)
        yield from partitioned_references.afterwards(coming, _nobody_came, server_version=server_version)
    yield from map(unique.swap, out_of.uniques, into.uniques)
    for reference in _beside(into):
        yield references.rename(reference)


def _added(into: Side, server_version: int) -> Iterator[Step]:
    for reference in _beside(into):
        if partitioned_references.in_parts(reference, server_version):
            yield from partitioned_references.beside(reference, _nobody_came)
            continue
        yield references.add(reference)
        if reference.original.validated:
            yield references.validate(reference, reference.temporary)


def _beside(side: Side) -> list[Reference]:
    """The foreign keys that can stand beside those of the other side."""
    return [reference for reference in side.references if reference.target.kind != "p"]


def _within(side: Side, key: Key) -> list[Reference]:
    """Those that come and go with a partitioned table's key."""
    return [one for one in side.references if one.target.kind == "p" and one.target.oid == key.was.oid]


def _nobody_came(ground: Ground) -> bool:
    """Asked right before the swap: a key that lacks a partition's part would be none."""
    closed = STAGE.gate(ground)
    if closed is not None:
        raise GateClosedError(STAGE.name, list(closed.facts), closed.opens)
    return True


def _nullable(plan: Plan, key: Key) -> Iterator[str]:
    """Columns of a new key that may hold NULL until then: making the key would scan the table for them."""
    table = next(table for table in plan.tables if table.name == key.table)
    for name in key.columns:
        column = key.was.column(name)
        if columns.nullable(plan, table) if column is None else not column.not_null:
            yield name
