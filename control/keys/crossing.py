"""Edges whose two ends belong to different tenants, which no key with the tenant in it can hold.

What becomes of them the plan says (`cross_tenant`): `stop` and `quarantine` keep the stage closed until there
are none, and with `quarantine` the backfill sets them aside beside rows without a tenant. With `source` an
edge belongs to whom its source says, and a foreign key to another end stays as it is: on the id alone, which
stays unique for its sake, as for a foreign key from outside the plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from control.plan.model import Plan
from control.stage import Closed, Ground
from sql.postgres import crossing, verify
from sql.postgres.facts import Catalog, ForeignKey
from sql.tenant_source import Parent, chain
from worker import assignments, jobs


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


def edges(plan: Plan, original: Catalog, *, assigned: bool = False) -> Iterator[Edge]:
    """Every foreign key inside the plan by which a row could name one of another tenant.

    Not those by which it is told its tenant, nor those between tables of one tenant; but of what was one
    tenant's rows may have been `assigned` to another, and old code, which the guard takes for the first, have
    written rows that name them.
    """
    named = {(table.schema_, table.name): name for name, table in original.tables.items()}
    for table in plan.tables:
        told = {(s.parent, tuple(s.on.items())) for s in [next(chain(table.tenant))] if isinstance(s, Parent)}
        for key in original.table(table.name).foreign_keys:
            parent = named.get((key.target_schema, key.target))
            if parent is None:
                continue
            if not assigned and table.constant and table.constant == plan.table(parent).constant:
                continue
            edge = Edge(table.name, parent, key)
            if (parent, edge.pairs) not in told:
                yield edge


def stays(plan: Plan, original: Catalog, key: ForeignKey) -> bool:
    """Whether a foreign key stays on the id alone, because edges may cross."""
    return plan.tenant.cross_tenant == "source" and any(edge.key == key for edge in edges(plan, original))


def _held(ground: Ground) -> Iterator[Edge]:
    """The edges that a key with the tenant is to hold, and that must not cross."""
    plan = ground.plan
    if plan.tenant.cross_tenant == "source":
        return
    # Before a migration is on record nothing can have been assigned.
    assigned = bool(ground.migration and assignments.all_of(ground.connection, ground.migration))
    for edge in edges(plan, ground.original, assigned=assigned):
        keyed = plan.table(edge.table).primary_key and plan.table(edge.parent).primary_key
        if keyed or plan.separates:
            yield edge


def set_aside(ground: Ground) -> list[str]:
    """Put the rows that cross into quarantine, and take those out that don't any more; what is in it then.

    Only where the plan says `quarantine`, and every table has its tenants.
    """
    if ground.plan.tenant.cross_tenant != "quarantine":
        return []
    connection, facts = ground.connection, []
    every = jobs.of_migration(connection, ground.migration)
    with connection.transaction():
        crossing.forget(connection, ground.migration)
        for edge in _held(ground):
            parent = ground.original.table(edge.parent).identifier
            rows = sum(
                crossing.set_aside(
                    connection, job.id, job.spec, parent=parent, on=dict(edge.pairs), key=edge.key.name
                )
                for job in every
                if job.table == edge.table
            )
            if rows:
                facts.append(
                    f"{rows} row(s) of {edge.table} in quarantine: {edge.key.name} names another tenant's "
                    f"{edge.parent}"
                )
    return facts


def gate(ground: Ground) -> Closed | None:
    """Closed where an edge crosses that a key with the tenant is to hold."""
    column = ground.plan.tenant.column
    facts = []
    for edge in _held(ground):
        found = verify.strays(
            ground.connection,
            child=ground.original.table(edge.table).identifier,
            parent=ground.original.table(edge.parent).identifier,
            pairs=[(ours, theirs) for ours, theirs in edge.pairs if ours != column],
            column=column,
        )
        if found.rows:
            facts.append(
                f"{found.rows} rows of {edge.table} name another tenant's {edge.parent} by {edge.key.name}, "
                f"such as {found.example}"
            )
    if not facts:
        return None
    if ground.plan.separates:
        return Closed(tuple(facts), "mend or delete them: no edge leads from schema to schema")
    return Closed(
        tuple(facts),
        "mend or delete them, or give them to that tenant too (`tenantry tenants assign` with --table); or "
        'begin again with cross_tenant = "source", which leaves such foreign keys as they are',
    )
