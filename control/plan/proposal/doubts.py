"""What a proposed plan leaves to decide: rows that no source tells of, and edges between tenants.

The questions are those of `check`, asked of small tables whole and of large ones by a sample.
"""

from collections.abc import Iterator

from psycopg import sql

from control.jobs import key_of
from control.keys import crossing
from control.plan.model import Plan, Table
from control.plan.proposal.reading import NotReadError, Reader, is_small
from control.preflight import rows
from sql.postgres import facts, preflight, proposal
from sql.postgres.facts import Catalog
from sql.tenant_source import Lookup, Parent, chain, last_resort, qualified

#: What becomes of rows without a tenant.
_ASIDE = (
    'tenant.unresolved = "quarantine" sets them aside, "otherwise" gives them to tenant.legacy, and with '
    '"stop" `check` stops'
)


def look(reader: Reader, plan: Plan, original: Catalog) -> Iterator[tuple[str, str]]:
    """Tell what is in doubt, each with the table that it is to stand above."""
    for table in plan.tables:
        if table.constant is None:
            for note in _of_table(reader, plan, original, table):
                yield table.name, note
    for edge in crossing.edges(plan, original):
        for note in _of_edge(reader, plan, original, edge):
            yield edge.table, note


def _of_table(reader: Reader, plan: Plan, original: Catalog, table: Table) -> Iterator[str]:
    connection, there = reader.connection, original.table(table.name)
    key = [column.name for column in key_of(there)]
    try:
        some = _some(reader, plan, original, table)
        found, examples = reader.ask(
            lambda: rows.counted(
                connection, rows.planned(plan, original, table.name, some), key, plan.tenant.pattern
            )
        )
    except NotReadError as error:
        yield f"its rows were not counted by tenant: {error.reason}; `tenantry check` does it"
        return
    of = f"of {found.total:,} rows" if is_small(there) else f"of {found.total:,} rows of a sample"
    if found.unfilled:
        yield f"{found.unfilled:,} {of} have no tenant, such as {', '.join(examples)}: {_ASIDE}"
        for source in chain(table.tenant):
            if isinstance(source, Lookup | Parent):
                yield from _untold(reader, original, there, source)
    if found.malformed and last_resort(table.tenant) is None:
        values = ", ".join(map(repr, found.malformed_tenants))
        yield f"{found.malformed:,} {of} say {values}, which tenant.pattern doesn't let pass: {_ASIDE}"


def _some(reader: Reader, plan: Plan, original: Catalog, table: Table) -> sql.Composable | None:
    """The rows to look at, where not all are.

    Raises:
        NotReadError: they take their tenants from a large tree, which is read whole or not at all.
    """
    waiting, seen = [table], set()
    while waiting:
        here = waiting.pop()
        seen.add(here.name)
        is_tree = here.name in {one.parent for one in chain(here.tenant) if isinstance(one, Parent)}
        if is_tree and not is_small(original.table(here.name)):
            raise NotReadError(f"{here.name} is a tree, too large to walk in passing")
        waiting += [plan.table(name) for name in here.parents if name not in seen]
    there = original.table(table.name)
    return None if is_small(there) else reader.rows(there)


def _untold(reader: Reader, original: Catalog, there: facts.Table, source: Lookup | Parent) -> Iterator[str]:
    """Say why a source tells nothing: a row that names nothing, or what is not there."""
    leader = source.parent if isinstance(source, Parent) else source.lookup
    other = original.tables[leader].identifier if leader in original.tables else qualified(leader)
    try:
        found = reader.ask(lambda: proposal.untold(reader.connection, reader.rows(there), other, source.on))
    except NotReadError:
        return
    columns = ", ".join(source.on)
    if found.nothing:
        yield f"{columns} is NULL in {found.nothing:,}"
    if found.dangling:
        yield f"{columns} names no row of {leader} in {found.dangling:,}"


def _of_edge(reader: Reader, plan: Plan, original: Catalog, edge: crossing.Edge) -> Iterator[str]:
    there = original.table(edge.table)
    try:
        some = _some(reader, plan, original, plan.table(edge.table))
        _some(reader, plan, original, plan.table(edge.parent))
        found = reader.ask(
            lambda: preflight.crossing(
                reader.connection,
                rows.planned(plan, original, edge.table, some),
                rows.planned(plan, original, edge.parent),
                edge.pairs,
                pattern=plan.tenant.pattern,
            )
        )
    except NotReadError as error:
        yield f"{edge.key.name} was not looked along for edges to other tenants: {error.reason}"
        return
    if found.rows:
        of = "rows" if is_small(there) else "rows of a sample"
        yield (
            f"{found.rows:,} {of} name another tenant's {edge.parent} by {edge.key.name}, such as "
            f'{found.example}: with tenant.cross_tenant = "stop" `check` stops there, "quarantine" sets them '
            'aside, and "source" leaves that foreign key on the id alone'
        )
