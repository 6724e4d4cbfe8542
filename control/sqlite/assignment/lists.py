"""The tables that move together, each with this connection's list of its rows that go."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from control.plan.model import Plan
from control.sqlite.stage import Ground
from control.sqlite.steps import look
from control.tenants.family import Family, Named, related
from sql.sqlite.connection import File
from sql.sqlite.facts import Catalog, ForeignKey, Table
from sql.sqlite.moving import Moving
from sql.sqlite.names import folded

#: A list for each table of a family, by its name in the plan, in the family's order.
Lists = Mapping[str, Moving]


def family_of(plan: Plan, original: Catalog, asked: tuple[str, ...]) -> Family:
    """Find out what moves together, as `control.tenants.family` has it.

    Raises:
        GivenWrongError: a table that the plan hasn't, or none at the top.
    """
    return related(plan, tuple(_edges(plan, original)), asked)


def _edges(plan: Plan, original: Catalog) -> Iterator[tuple[str, str, Named]]:
    called = {folded(table.name): table.name for table in plan.tables}
    for table in plan.tables:
        was = original.table(table.name)
        for key in _nearest_first(was):
            parent = called.get(folded(key.target))
            pairs = zip(key.columns, key.target_columns, strict=False)
            own = tuple(
                (ours, theirs) for ours, theirs in pairs if folded(ours) != folded(plan.tenant.column)
            )
            if parent is not None and own:
                yield table.name, f"({', '.join(key.columns)})", Named(parent, own)


def _nearest_first(table: Table) -> list[ForeignKey]:
    places = {folded(one.name): (not one.not_null, at) for at, one in enumerate(table.columns)}
    return sorted(table.foreign_keys, key=lambda key: max(places[folded(name)] for name in key.columns))


@contextmanager
def lists_of(
    ground: Ground, family: Family, *, where: str | None, undoes: int | None
) -> Iterator[dict[str, Moving]]:
    """Have the lists, empty, until the end of the context."""
    file, live = ground.connection, look(ground.connection, ground.plan)
    lists = {
        name: Moving(
            file,
            number,
            name,
            live.table(name),
            ground.plan.tenant.column,
            where=where or "true",
            undoes=undoes if name in family.asked else None,
        )
        for number, name in enumerate(family.order)
    }
    try:
        for one in lists.values():
            if one.identity:
                one.make()
        yield lists
    finally:
        _take_away(file, lists)


def _take_away(file: File, lists: Lists) -> None:
    if not file.closed:
        for one in lists.values():
            one.drop()


def follow(family: Family, lists: Lists, from_: str) -> None:
    """Put all on the lists that goes along with what is on them, trees level by level."""
    for name in family.order:
        along = [way for way in family.above[name] if way.parent != name]
        for way in along:
            lists[name].follow(lists[way.parent], way.pairs, from_)
        for way in family.above[name]:
            while way.parent == name and lists[name].follow(lists[name], way.pairs, from_):
                pass
