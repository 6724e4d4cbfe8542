"""What a proposed plan leaves to decide: rows that no source tells of, and edges between tenants.

The questions are those of `check`, asked of small tables whole and of large ones by a sample.
"""

from collections.abc import Iterator

from control.plan.model import Plan
from control.plan.proposal.reading import Edge, NotReadError, Reader
from control.plan.sections import Table
from sql.tenant_source import Lookup, Parent, chain, last_resort

#: What becomes of rows without a tenant.
_ASIDE = (
    'tenant.unresolved = "quarantine" sets them aside, "otherwise" gives them to tenant.legacy, and with '
    '"stop" `check` stops'
)


def look(reader: Reader, plan: Plan) -> Iterator[tuple[str, str]]:
    """Tell what is in doubt, each with the table that it is to stand above."""
    for table in plan.tables:
        if table.constant is None:
            for note in _of_table(reader, plan, table):
                yield table.name, note
    for edge in reader.edges(plan):
        for note in _of_edge(reader, plan, edge):
            yield edge.table, note


def _of_table(reader: Reader, plan: Plan, table: Table) -> Iterator[str]:
    try:
        found = reader.counted(plan, table.name)
    except NotReadError as error:
        yield f"its rows were not counted by tenant: {error.reason}; `tenantry check` does it"
        return
    of = f"of {found.total:,} rows" if reader.is_small(table.name) else f"of {found.total:,} rows of a sample"
    if found.unfilled:
        yield f"{found.unfilled:,} {of} have no tenant, such as {', '.join(found.examples)}: {_ASIDE}"
        for source in chain(table.tenant):
            if isinstance(source, Lookup | Parent):
                yield from _untold(reader, table.name, source)
    if found.malformed and last_resort(table.tenant) is None:
        values = ", ".join(map(repr, found.malformed_tenants))
        yield f"{found.malformed:,} {of} say {values}, which tenant.pattern doesn't let pass: {_ASIDE}"


def _untold(reader: Reader, table: str, source: Lookup | Parent) -> Iterator[str]:
    """Say why a source tells nothing: a row that names nothing, or what is not there."""
    try:
        found = reader.untold(table, source)
    except NotReadError:
        return
    leader = source.parent if isinstance(source, Parent) else source.lookup
    columns = ", ".join(source.on)
    if found.nothing:
        yield f"{columns} is NULL in {found.nothing:,}"
    if found.dangling:
        yield f"{columns} names no row of {leader} in {found.dangling:,}"


def _of_edge(reader: Reader, plan: Plan, edge: Edge) -> Iterator[str]:
    try:
        rows, example = reader.crossing(plan, edge)
    except NotReadError as error:
        yield f"{edge.called} was not looked along for edges to other tenants: {error.reason}"
        return
    if rows:
        of = "rows" if reader.is_small(edge.table) else "rows of a sample"
        yield (
            f"{rows:,} {of} name another tenant's {edge.parent} by {edge.called}, such as "
            f'{example}: with tenant.cross_tenant = "stop" `check` stops there, "quarantine" sets them '
            'aside, and "source" leaves that foreign key on the id alone'
        )
