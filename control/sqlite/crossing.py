"""Edges between tenants in a SQLite file; `control.keys.crossing` says what becomes of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control.plan.model import Plan
from control.sqlite.stage import Ground
from control.stage import Closed
from sql.sqlite import crossing
from sql.sqlite.facts import Catalog, ForeignKey
from sql.sqlite.names import folded
from sql.tenant_source import Parent, chain
from worker import jobs


@dataclass(frozen=True, slots=True)
class Edge:
    """A foreign key inside the plan, from one of its tables to another, or to itself."""

    table: str
    parent: str
    key: ForeignKey

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Columns of the row, each with that of its parent."""
        return tuple(zip(self.key.columns, self.key.target_columns, strict=True))

    @property
    def by(self) -> str:
        """Its columns: a foreign key of a file need not have a name."""
        return ", ".join(self.key.columns)


def edges(plan: Plan, original: Catalog) -> Iterator[Edge]:
    """Every foreign key inside the plan by which a row could name one of another tenant.

    Not those by which it is told its tenant, nor those between tables of one tenant.
    """
    named = {folded(original.table(table.name).name): table.name for table in plan.tables}
    for table in plan.tables:
        first = next(chain(table.tenant))
        told = _folded(first.on.items()) if isinstance(first, Parent) else None
        for key in original.table(table.name).foreign_keys:
            parent = named.get(folded(key.target))
            if parent is None or (table.constant and table.constant == plan.table(parent).constant):
                continue
            if len(key.columns) != len(key.target_columns):
                continue  # it fits nothing, and preflight stops at it
            edge = Edge(table.name, parent, key)
            if not (isinstance(first, Parent) and first.parent == parent and told == _folded(edge.pairs)):
                yield edge


def _folded(pairs: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    return {(folded(ours), folded(theirs)) for ours, theirs in pairs}


def stays(plan: Plan, original: Catalog, table: str, key: ForeignKey) -> bool:
    """Whether a foreign key of a table stays on the id alone, because edges may cross.

    It has no name: another table's may be the same to the letter, and tell that one its tenant.
    """
    return plan.tenant.cross_tenant == "source" and any(
        folded(edge.table) == folded(table) and edge.key == key for edge in edges(plan, original)
    )


def count(ground: Ground, edge: Edge) -> int:
    """How many rows of an edge's table name another tenant's by it."""
    return crossing.count(
        ground.connection,
        table=ground.original.table(edge.table).name,
        parent=ground.original.table(edge.parent).name,
        on=dict(edge.pairs),
        column=ground.plan.tenant.column,
    )


def _held(ground: Ground) -> Iterator[Edge]:
    """The edges that a key with the tenant is to hold, and that must not cross."""
    plan = ground.plan
    if plan.tenant.cross_tenant == "source":
        return
    for edge in edges(plan, ground.original):
        if plan.table(edge.table).primary_key and plan.table(edge.parent).primary_key:
            yield edge


def set_aside(ground: Ground) -> list[str]:
    """Put the rows that cross into quarantine, and take those out that don't any more; what is in it then.

    Only where the plan says `quarantine`, and every table has its tenants.
    """
    if ground.plan.tenant.cross_tenant != "quarantine":
        return []
    file, facts = ground.connection, []
    crossing.forget(file, ground.migration)
    every = {job.table: job for job in jobs.of_migration(file, ground.migration)}
    for edge in _held(ground):
        job = every[edge.table]
        rows = crossing.set_aside(
            file,
            job.id,
            job.spec,
            parent=ground.original.table(edge.parent).name,
            on=dict(edge.pairs),
            by=", ".join(edge.key.columns),
        )
        if rows:
            facts.append(
                f"{rows} row(s) of {edge.table} in quarantine: {', '.join(edge.key.columns)} names another "
                f"tenant's {edge.parent}"
            )
    return facts


def gate(ground: Ground) -> Closed | None:
    """Closed where an edge crosses that a key with the tenant is to hold."""
    facts = [
        f"{rows} rows of {edge.table} name another tenant's {edge.parent} by {', '.join(edge.key.columns)}"
        for edge in _held(ground)
        if (rows := count(ground, edge))
    ]
    if not facts:
        return None
    return Closed(
        tuple(facts),
        'mend or delete them; or begin again with cross_tenant = "source", which leaves such foreign keys as '
        "they are",
    )
