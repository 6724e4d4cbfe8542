"""What the primary keys and the foreign keys onto them are before the stage `keys`, and after.

Both sides have the same names in the end; while they stand side by side the coming one has a name of its own.
So going there and going back are the same walk between two sides.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from control import names
from control.indexes import Wanted, key_index
from control.jobs import parts
from control.keys import crossing, outside, unique
from control.keys.outside import Outside
from control.keys.unique import Unique
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from sql.errors import CatalogError, GivenWrongError
from sql.postgres.facts import Catalog, ForeignKey, Table

#: `ON DELETE SET NULL (columns)`: before it a composite key would take the tenant away too.
_SET_COLUMNS_SINCE = 150_000


@dataclass(frozen=True, slots=True)
class Key:
    """A primary key on one side; no columns where the table has none on that side.

    `table` is the table's name in the plan, `was` the table before the migration, `indexes` what the key
    is made of while the other side's still stands: one, or one for each partition. `outside` are the foreign
    keys onto the old key from tables that the plan doesn't name.
    """

    table: str
    was: Table
    columns: tuple[str, ...]
    indexes: tuple[Wanted, ...]
    outside: tuple[Outside, ...] = ()

    @property
    def name(self) -> str:
        """The constraint's name, on both sides."""
        return names.primary_key(self.was)

    @property
    def stays_unique(self) -> bool:
        """Whether it is an old key whose index stands beside the new one, for what points to it."""
        old = self.was.primary_key
        return bool(self.outside) and old is not None and self.columns == old.columns

    def is_there(self, live: Catalog) -> bool:
        """Whether this side's key stands."""
        table = live.table(self.table)
        key = table.primary_key
        index = table.index(key.index or "") if key else None
        # A partitioned table's is invalid as long as a partition lacks its part.
        return (key.columns if key else ()) == self.columns and (index is None or index.valid)


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key on one side.

    `was` is the table it belongs to and `target` the one it points to, both before the migration, as
    `original` is the foreign key itself; `table` is the name of `was` in the plan.
    """

    table: str
    was: Table
    target: Table
    original: ForeignKey
    temporary: str
    columns: tuple[str, ...]
    target_columns: tuple[str, ...]
    match: str
    set_columns: tuple[str, ...]

    @property
    def name(self) -> str:
        """The constraint's name, on both sides."""
        return self.original.name

    def find(self, live: Catalog) -> ForeignKey | None:
        """This side's foreign key as it is now, under its final name or the one meanwhile."""
        found = map(live.table(self.table).foreign_key, (self.name, self.temporary))
        return next((key for key in found if key is not None and key.columns == self.columns), None)


@dataclass(frozen=True, slots=True)
class Side:
    """All keys, and all foreign keys onto them, before or after; two sides hold them in the same order."""

    keys: tuple[Key, ...]
    references: tuple[Reference, ...]
    uniques: tuple[Unique, ...] = ()


def sides(plan: Plan, original: Catalog) -> tuple[Side, Side]:
    """The old side and the new one.

    Raises:
        CatalogError: a foreign key that can't be carried over: NOT ENFORCED, from outside the plan onto a
            partitioned table or a unique index of the plan, or with an action that would take the tenant away
            and that this server can't limit to columns; or a key WITHOUT OVERLAPS; or a unique index that
            can't be exchanged.
        GivenWrongError: a new key that foreign keys onto the old one can't point to; or a `unique` of the
            plan that isn't there.
    """
    changed = [table for table in plan.tables if _changes(table, original)]
    for table in changed:
        _refuse_periods(table, original)
    pairs = [pair for table in changed for pair in _references(plan, table, original)]
    carried = [old.original for old, _ in pairs]
    uniques = list(unique.pairs(plan, original))
    pairs += [pair for old, _ in uniques for pair in _onto(plan, old, original, carried)]
    return (
        Side(
            tuple(_old_key(plan, table, original) for table in changed),
            tuple(old for old, _ in pairs),
            tuple(old for old, _ in uniques),
        ),
        Side(
            tuple(_new_key(plan, table, original) for table in changed),
            tuple(new for _, new in pairs),
            tuple(new for _, new in uniques),
        ),
    )


def _changes(table: PlanTable, original: Catalog) -> bool:
    old = original.table(table.name).primary_key
    return table.primary_key is not None and (old is None or old.columns != table.primary_key)


def _refuse_periods(table: PlanTable, original: Catalog) -> None:
    was = original.table(table.name)
    index = was.index(was.primary_key.index or "") if was.primary_key else None
    # The index of every other primary key is a plain btree: the server takes nothing else for one.
    if was.primary_key is not None and index is not None and not index.plain:
        raise CatalogError(
            f"primary key {was.primary_key.name} of {table.name} is WITHOUT OVERLAPS, which an index built "
            "beside it can't take over; leave primary_key out of that table"
        )


def _old_key(plan: Plan, table: PlanTable, original: Catalog) -> Key:
    was = original.table(table.name)
    columns = was.primary_key.columns if was.primary_key else ()
    held = tuple(outside.onto(table.name, plan, original))
    return Key(table.name, was, columns, _indexes(table.name, was, columns, names.returning), held)


def _new_key(plan: Plan, table: PlanTable, original: Catalog) -> Key:
    was = original.table(table.name)
    columns = table.primary_key or ()
    held = tuple(outside.onto(table.name, plan, original))
    return Key(table.name, was, columns, _indexes(table.name, was, columns, names.incoming), held)


def _indexes(
    table: str, was: Table, columns: tuple[str, ...], called: Callable[[str], str]
) -> tuple[Wanted, ...]:
    return tuple(key_index(table, part, columns, called(names.primary_key(part))) for part in parts(was))


def _references(plan: Plan, table: PlanTable, original: Catalog) -> Iterator[tuple[Reference, Reference]]:
    """The foreign keys onto the old key of `table`, each on both sides."""
    target = original.table(table.name)
    old_key = target.primary_key
    if old_key is None:
        return
    in_plan = {(t.schema_, t.name): name for name, t in original.tables.items()}
    for key in target.referenced_by:
        if set(key.target_columns) != set(old_key.columns):
            continue
        child = in_plan.get((key.schema_, key.table))
        if child is None or crossing.stays(plan, original, key):
            continue  # control.keys.outside
        if set(table.primary_key or ()) != {*old_key.columns, plan.tenant.column}:
            raise GivenWrongError(
                f"primary_key of {table.name} must be {', '.join(old_key.columns)} and {plan.tenant.column}, "
                f"because foreign key {key.name} of {child} points to it"
            )
        before = _as_it_is(child, original.table(child), target, key)
        yield before, _with_tenant(before, plan.tenant.column, original.server_version)


def _onto(
    plan: Plan, old: Unique, original: Catalog, carried: Sequence[ForeignKey]
) -> Iterator[tuple[Reference, Reference]]:
    """The foreign keys that lean on a unique index which takes the tenant in, each on both sides."""
    in_plan = {(t.schema_, t.name): name for name, t in original.tables.items()}
    for key in old.was.referenced_by:
        if key.target_index != old.name or key in carried:
            continue
        child = in_plan.get((key.schema_, key.table))
        if child is None:
            raise CatalogError(
                f"foreign key {key.name} of {key.schema_}.{key.table} points to {old.name} of {old.table}, "
                "which is to hold within each tenant; take that table into the plan, or leave `unique` out"
            )
        before = _as_it_is(child, original.table(child), old.was, key)
        yield before, _with_tenant(before, plan.tenant.column, original.server_version)


def _as_it_is(child: str, was: Table, target: Table, key: ForeignKey) -> Reference:
    return Reference(
        child,
        was,
        target,
        key,
        temporary=names.returning(key.name),
        columns=key.columns,
        target_columns=key.target_columns,
        match=key.match,
        set_columns=key.set_columns,
    )


def _with_tenant(before: Reference, tenant: str, server_version: int) -> Reference:
    key = before.original
    if not key.enforced:
        raise CatalogError(
            f"foreign key {key.name} of {before.table} is NOT ENFORCED, and one onto the new key would be: "
            "drop it, or enforce it first"
        )
    sets = key.on_delete in ("n", "d")
    if key.on_update in ("n", "d") or (sets and server_version < _SET_COLUMNS_SINCE):
        raise CatalogError(
            f"foreign key {key.name} of {before.table} sets its columns to NULL or to their default; with "
            "the tenant in the key this server would take the tenant along (only ON DELETE, and from "
            "PostgreSQL 15 on, can name columns); change its action first"
        )
    return replace(
        before,
        temporary=names.incoming(key.name),
        columns=(*key.columns, tenant),
        target_columns=(*key.target_columns, tenant),
        # MATCH FULL would refuse an edge without a target, which has its tenant all the same.
        match="s",
        set_columns=(key.set_columns or key.columns) if sets else (),
    )
