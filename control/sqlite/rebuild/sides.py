"""What tables are before and after their keys get the tenant, worked out from the plan and the schema."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from control.plan.model import Plan, nearest
from control.plan.sections import Table as PlanTable
from control.sqlite.indexes import missing
from sql.sqlite.definition import Reference, read
from sql.sqlite.facts import Catalog, ForeignKey, Index, Table
from sql.sqlite.index_definition import widened_index
from sql.sqlite.names import folded, listed
from sql.sqlite.redefinition import rewritten
from sql.tenant_source import Parent, chain

#: What a foreign key may do to its row that would take the tenant along with it.
_CLEARING = frozenset({"SET NULL", "SET DEFAULT"})


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True)


class Side(_Kept):
    """A table's own statement, and those of its indexes that have one, by name."""

    sql: str
    indexes: dict[str, str]


class Rebuild(_Kept):
    """A table on both sides; `number` tells it from others in names of ours."""

    number: int
    name: str
    before: Side
    after: Side

    @property
    def back(self) -> "Rebuild":
        """The same, the other way round."""
        return Rebuild(number=self.number, name=self.name, before=self.after, after=self.before)


class Pin(_Kept):
    """A table that isn't made anew: its statement says from then on which columns its foreign keys name."""

    name: str
    before: str
    after: str

    @property
    def back(self) -> "Pin":
        """The same, the other way round."""
        return Pin(name=self.name, before=self.after, after=self.before)


class Link(_Kept):
    """A foreign key that takes the tenant in: columns and targets without it."""

    child: str
    parent: str
    columns: tuple[str, ...]
    targets: tuple[str, ...]


class Sides(_Kept):
    """Everything that `keys` changes."""

    tables: tuple[Rebuild, ...]
    pins: tuple[Pin, ...]
    links: tuple[Link, ...]

    def groups(self) -> Iterator[tuple[Rebuild, ...]]:
        """The tables that must change in one moment, for foreign keys lead from one to the other."""
        left = list(self.tables)
        while left:
            group = [left.pop(0)]
            for one in group:
                near = {folded(link.child) for link in self.links if folded(link.parent) == folded(one.name)}
                near |= {folded(link.parent) for link in self.links if folded(link.child) == folded(one.name)}
                group.extend(other for other in left if folded(other.name) in near)
                left = [other for other in left if other not in group]
            yield tuple(group)


@dataclass(frozen=True, slots=True)
class _Widened:
    """What of a table gets the tenant: keys, by their columns; `unique` are those that the plan names."""

    key: tuple[str, ...] | None
    stays_unique: bool
    unique: tuple[tuple[str, ...], ...]

    def has(self, columns: Sequence[str]) -> bool:
        """Whether these columns are one of the keys."""
        return any(_same(columns, key) for key in (*([self.key] if self.key else []), *self.unique))


def sides(plan: Plan, catalog: Catalog) -> Sides:
    """Work out both sides from the schema as it is before.

    Raises:
        PlanError: a key that can't be had, or nothing of that name to be unique.
    """
    widened = {
        folded(catalog.table(table.name).name): _widened(plan, at, table, catalog.table(table.name))
        for at, table in enumerate(plan.tables)
    }
    links: list[Link] = []
    pinned: dict[str, list[ForeignKey]] = {}
    kept: dict[str, list[tuple[str, ...]]] = {}
    for child in catalog.tables.values():
        for key in child.foreign_keys:
            parent = widened.get(folded(key.target))
            if parent is None or not parent.has(key.target_columns):
                continue
            if _takes_tenant(plan, catalog, child, key):
                links.append(
                    Link(child=child.name, parent=key.target, columns=key.columns, targets=key.target_columns)
                )
                continue
            _refuse_unique(plan, catalog, child, key, parent)
            if not parent.stays_unique:
                kept.setdefault(folded(key.target), []).append(key.target_columns)
                pinned.setdefault(folded(child.name), []).append(key)
    tables = [
        _rebuild(plan, number, table, catalog.table(table.name), widened, links, pinned, kept)
        for number, table in enumerate(plan.tables)
    ]
    remade = tuple(one for one in tables if one.before.sql != one.after.sql or _widens_index(one))
    names = {folded(one.name) for one in remade}
    pins = (
        Pin(name=child.name, before=child.sql, after=_pinned(plan, child, keys))
        for child in catalog.tables.values()
        if (keys := pinned.get(folded(child.name))) and folded(child.name) not in names
    )
    return Sides(
        tables=remade, pins=tuple(pin for pin in pins if pin.before != pin.after), links=tuple(links)
    )


def rebuilt(plan: Plan, catalog: Catalog) -> frozenset[str]:
    """The tables of the plan that are made anew, by the plan's names."""
    names = {folded(one.name) for one in sides(plan, catalog).tables}
    return frozenset(table.name for table in plan.tables if folded(table.name) in names)


def _widens_index(one: Rebuild) -> bool:
    return any(one.after.indexes[name] != sql for name, sql in one.before.indexes.items())


def _widened(plan: Plan, at: int, table: PlanTable, was: Table) -> _Widened:
    tenant = folded(plan.tenant.column)
    unique = tuple(
        tuple(column for column in index.columns if column is not None)
        for index in _uniques(plan, at, table, was)
        if None not in index.columns
    )
    if table.primary_key is None:
        return _Widened(None, stays_unique=False, unique=unique)
    old = was.primary_key
    own = [name for name in table.primary_key if folded(name) != tenant]
    if old and not _same(own, [name for name in old if folded(name) != tenant]):
        raise plan.wrong(
            f"primary_key of {table.name} is its key ({', '.join(old)}) with {plan.tenant.column}, in any "
            "order; another key can't take its place",
            "tables",
            at,
            "primary_key",
        )
    if was.rowid is None and not was.without_rowid:
        raise plan.wrong(
            f"columns of {table.name} are called rowid, _rowid_ and oid, so that its rowid has no name left; "
            "rename one of them first",
            "tables",
            at,
            "name",
        )
    has_it = tenant in {folded(name) for name in old}
    return _Widened(None if has_it else old or None, stays_unique=was.rowid_alias is not None, unique=unique)


def _uniques(plan: Plan, at: int, table: PlanTable, was: Table) -> Iterator[Index]:
    for place, name in enumerate(table.unique):
        index = was.index(name)
        path = ("tables", at, "unique", place)
        if index is None or not index.unique:
            known = [one.name for one in was.indexes if one.unique and one.origin != "pk"]
            raise plan.wrong(f"{table.name} has no unique index {name!r}{nearest(name, known)}", *path)
        if index.origin == "pk":
            raise plan.wrong(f"{name!r} is the primary key of {table.name}: say primary_key", *path)
        if folded(plan.tenant.column) not in {folded(column) for column in index.columns if column}:
            yield index


def _takes_tenant(plan: Plan, catalog: Catalog, child: Table, key: ForeignKey) -> bool:
    """Whether a foreign key gets the tenant: both ends have keys with it, and no edge may cross."""
    ends = [_planned(plan, child.name), _planned(plan, key.target)]
    own, other = ends
    if own is None or own.primary_key is None or other is None or other.primary_key is None:
        return False
    if {key.on_delete, key.on_update} & _CLEARING:
        return False
    return not (plan.tenant.cross_tenant == "source" and _may_cross(catalog, own, other, key))


def _may_cross(catalog: Catalog, child: PlanTable, parent: PlanTable, key: ForeignKey) -> bool:
    """Whether a row may name one of another tenant: not by what tells it its tenant."""
    if child.constant and child.constant == parent.constant:
        return False
    first = next(chain(child.tenant))
    return not (
        isinstance(first, Parent)
        and folded(catalog.table(first.parent).name) == folded(key.target)
        and {(folded(ours), folded(theirs)) for ours, theirs in first.on.items()}
        == {
            (folded(ours), folded(theirs))
            for ours, theirs in zip(key.columns, key.target_columns, strict=True)
        }
    )


def _refuse_unique(plan: Plan, catalog: Catalog, child: Table, key: ForeignKey, parent: _Widened) -> None:
    if not any(_same(key.target_columns, columns) for columns in parent.unique):
        return
    at = next(at for at, one in enumerate(plan.tables) if folded(one.name) == folded(key.target))
    raise plan.wrong(
        f"({', '.join(key.columns)}) of {child.name} is a foreign key onto ({', '.join(key.target_columns)}) "
        f"of {catalog.table(key.target).name}, which so has to stay unique in all tenants; leave it out",
        "tables",
        at,
        "unique",
    )


def _rebuild(  # noqa: PLR0917  # what all tables say together
    plan: Plan,
    number: int,
    table: PlanTable,
    was: Table,
    widened: Mapping[str, _Widened],
    links: Sequence[Link],
    pinned: Mapping[str, Sequence[ForeignKey]],
    kept: Mapping[str, Sequence[tuple[str, ...]]],
) -> Rebuild:
    tenant, own = plan.tenant.column, widened[folded(was.name)]
    named = {one.name: one.sql for one in was.indexes if one.sql is not None}
    added = []
    if own.key is not None and own.stays_unique and table.primary_key is not None:
        added.append(f"UNIQUE ({listed(table.primary_key)})")
    added += [f"UNIQUE ({listed(columns)})" for columns in dict.fromkeys(kept.get(folded(was.name), ()))]

    def refer(target: str, columns: tuple[str, ...]) -> Reference | None:
        for link in links:
            if _is(link.child, was.name, link.parent, target) and _same(link.columns, columns, ordered=True):
                return Reference(link.targets, tenant)
        return _pin(was, pinned.get(folded(was.name), ()), target, columns)

    keyed = (
        table.primary_key is not None
        and not own.stays_unique
        and (own.key is not None or not was.primary_key)
    )
    indexes = list(_uniques(plan, 0, table, was)) if table.unique else []
    after = rewritten(
        was.sql,
        tenant=tenant,
        key=table.primary_key if keyed else None,
        unique=[tuple(filter(None, one.columns)) for one in indexes if one.origin == "u"],
        references=refer,
        added=added,
    )
    wide = {one.name: widened_index(one.sql, tenant) for one in indexes if one.sql is not None}
    more = {index.name: statement for index, statement in missing(table, was)}
    return Rebuild(
        number=number,
        name=was.name,
        before=Side(sql=was.sql, indexes=named),
        after=Side(sql=after, indexes=named | wide | more),
    )


def _pinned(plan: Plan, child: Table, keys: Sequence[ForeignKey]) -> str:
    return rewritten(
        child.sql,
        tenant=plan.tenant.column,
        references=lambda target, columns: _pin(child, keys, target, columns),
    )


def _pin(child: Table, keys: Sequence[ForeignKey], target: str, columns: tuple[str, ...]) -> Reference | None:
    """A foreign key that stays, and names no columns: it meant the key as it was."""
    for key in keys:
        if folded(key.target) == folded(target) and _same(key.columns, columns, ordered=True):
            table = read(child.sql)
            for one in table.constraints:
                is_it = one.kind == "foreign key" and _same(one.columns, columns, ordered=True)
                if is_it and folded(table.target(one)) == folded(target) and not table.targets(one):
                    return Reference(key.target_columns)
    return None


def _planned(plan: Plan, name: str) -> PlanTable | None:
    return next((table for table in plan.tables if folded(table.name) == folded(name)), None)


def _is(one: str, name: str, other: str, target: str) -> bool:
    return folded(one) == folded(name) and folded(other) == folded(target)


def _same(one: Sequence[str], other: Sequence[str], *, ordered: bool = False) -> bool:
    left, right = list(map(folded, one)), list(map(folded, other))
    return left == right if ordered else sorted(left) == sorted(right)
