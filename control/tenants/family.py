"""Which tables of a plan move together: those that are asked, and those whose rows go along with theirs.

A row goes along with the one that tells its tenant, else with the one that it names by a foreign key: of
several by the first that every row has, as `init` would propose it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from control.jobs import key_of, parts
from control.plan.model import Plan, nearest
from control.plan.sections import Table
from sql.errors import GivenWrongError
from sql.job import KeyColumn, Link
from sql.postgres.facts import Catalog, ForeignKey
from sql.postgres.facts import Table as CatalogTable
from sql.tenant_source import Parent

#: (ours, theirs) columns by which rows of one table name those of another.
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Named:
    """The table that rows of another name, and by which columns."""

    parent: str
    pairs: Pairs

    def is_same(self, other: "Named") -> bool:
        """Whether it is the same table by the same columns, in whatever order."""
        return self.parent == other.parent and set(self.pairs) == set(other.pairs)


@dataclass(frozen=True, slots=True)
class Family:
    """Tables whose rows move together, each after those that it goes along with.

    `asked` are those that the operator's condition is about; `above` says what the rows of a table go along
    with. `edges` are all foreign keys inside the plan: (table, its name, whom it names).
    """

    asked: tuple[str, ...]
    above: dict[str, tuple[Named, ...]]
    edges: tuple[tuple[str, str, Named], ...]
    order: tuple[str, ...] = ()
    circle: tuple[str, ...] = field(default=())
    """Tables that name each other, so that none of them can be copied before the others."""


def family(plan: Plan, original: Catalog, asked: Sequence[str]) -> Family:
    """Find out what moves together; without `asked` the tables at the top are asked.

    Raises:
        GivenWrongError: a table that the plan hasn't, or none at the top.
    """
    return related(plan, tuple(_edges(plan, original)), asked)


def related(plan: Plan, edges: tuple[tuple[str, str, Named], ...], asked: Sequence[str]) -> Family:
    """The same, by the foreign keys inside the plan: (table, its name, whom it names), the nearest first.

    Raises:
        GivenWrongError: a table that the plan hasn't, or none at the top.
    """
    names = [table.name for table in plan.tables]
    for name in asked:
        if name not in names:
            raise GivenWrongError(f"{name!r} is no table of the plan{nearest(name, names)}")
    ways = {table.name: list(_ways(table, edges)) for table in plan.tables}
    tops = tuple(asked) or tuple(name for name in names if not _others(name, ways[name]))
    above = {name: tuple(way for way in ways[name] if way.parent == name) for name in tops}
    while found := {
        name: along
        for name in names
        if name not in above and (along := next((w for w in ways[name] if w.parent in above), None))
    }:
        for name, along in found.items():
            above[name] = (along, *(way for way in ways[name] if way.parent == name))
    if not asked and (left := [name for name in names if name not in above]):
        raise GivenWrongError(
            f"{', '.join(left)} name each other in a circle: say with --table which of them --where is about"
        )
    order, circle = _in_order(above, edges)
    return Family(tops, above, edges, order, circle)


def link(named: Named, plan: Plan, live: Catalog) -> Link:
    """The same as a worker needs it."""
    table = live.table(named.parent)
    return Link(
        named=named.parent,
        schema_=table.schema_,
        table=table.name,
        pairs=named.pairs,
        identity=own_key(table, plan.tenant.column),
    )


def own_key(table: CatalogTable, tenant_column: str) -> tuple[KeyColumn, ...]:
    """What tells a table's rows whatever their tenant: its key without the tenant."""
    part = next(iter(parts(table)), table)
    return tuple(column for column in key_of(part) if column.name != tenant_column)


def _edges(plan: Plan, original: Catalog) -> Iterator[tuple[str, str, Named]]:
    called = {(table.schema_, table.name): name for name, table in original.tables.items()}
    for table in plan.tables:
        was = original.table(table.name)
        for key in _nearest_first(was):
            parent = called.get((key.target_schema, key.target))
            if parent is not None:
                pairs = zip(key.columns, key.target_columns, strict=True)
                own = tuple((ours, theirs) for ours, theirs in pairs if ours != plan.tenant.column)
                yield table.name, key.name, Named(parent, own)


def _ways(table: Table, edges: Iterable[tuple[str, str, Named]]) -> Iterator[Named]:
    if isinstance(table.tenant, Parent):
        yield Named(table.tenant.parent, tuple(table.tenant.on.items()))
    yield from (named for name, _, named in edges if name == table.name)


def _others(name: str, ways: Iterable[Named]) -> bool:
    return any(way.parent != name for way in ways)


def _nearest_first(table: CatalogTable) -> list[ForeignKey]:
    places = {column.name: (not column.not_null, at) for at, column in enumerate(table.columns)}
    return sorted(table.foreign_keys, key=lambda key: (max(places[name] for name in key.columns), key.name))


def _in_order(
    above: dict[str, tuple[Named, ...]], edges: Iterable[tuple[str, str, Named]]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Parents first by all that they name; where they name each other, by what they go along with alone."""
    graph = {name: {way.parent for way in ways if way.parent != name} for name, ways in above.items()}
    along = tuple(TopologicalSorter(graph).static_order())
    for name, _, named in edges:
        if name in above and named.parent in above and named.parent != name:
            graph[name].add(named.parent)
    try:
        return tuple(TopologicalSorter(graph).static_order()), ()
    except CycleError as error:
        return along, tuple(error.args[1])
