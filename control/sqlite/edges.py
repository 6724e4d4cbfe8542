"""Edges of a file whose two ends may belong to different tenants; `control.keys.crossing` says more."""

from collections.abc import Iterator
from dataclasses import dataclass

from control.plan.model import Plan
from sql.sqlite.facts import Catalog, ForeignKey
from sql.sqlite.names import folded
from sql.tenant_source import Parent, chain


@dataclass(frozen=True, slots=True)
class Edge:
    """A foreign key inside the plan, from one of its tables to another, or to itself."""

    table: str
    parent: str
    key: ForeignKey

    @property
    def on(self) -> dict[str, str]:
        """Columns of the row, each with that of its parent."""
        return dict(zip(self.key.columns, self.key.target_columns, strict=False))

    @property
    def name(self) -> str:
        """What it is called, for a foreign key of a file need not have a name: its columns."""
        return ", ".join(self.key.columns)


def edges(plan: Plan, original: Catalog) -> Iterator[Edge]:
    """Every foreign key inside the plan by which a row could name one of another tenant.

    Not those by which it is told its tenant, nor those between tables of one tenant.
    """
    named = {folded(table.name): table.name for table in plan.tables}
    for table in plan.tables:
        told = {(s.parent, tuple(s.on.items())) for s in [next(chain(table.tenant))] if isinstance(s, Parent)}
        for key in original.table(table.name).foreign_keys:
            parent = named.get(folded(key.target))
            if parent is None or (table.constant and table.constant == plan.table(parent).constant):
                continue
            edge = Edge(table.name, parent, key)
            if (parent, tuple(edge.on.items())) not in told:
                yield edge


def stays(plan: Plan, original: Catalog, table: str, key: ForeignKey) -> bool:
    """Whether a foreign key of a table of the plan stays on the id alone, because edges may cross."""
    return plan.tenant.cross_tenant == "source" and any(
        folded(edge.table) == folded(table) and edge.key == key for edge in edges(plan, original)
    )
