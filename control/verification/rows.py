"""The rows themselves: each has a tenant, a proper one, and its parents are in the same."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from control.keys import crossing
from control.plan.model import Plan
from control.verification.check import Check, Subject
from sql.postgres import verify
from sql.postgres.facts import Catalog
from sql.tenant_source import Parent, last_resort

#: How many of the largest tenants, of the smallest, and of those between are looked at closely.
SOME = 2


def named_tenants(plan: Plan) -> list[str]:
    """Tenants that the plan itself names: they are always in the sample."""
    given = [last_resort(table.tenant) for table in plan.tables]
    return [plan.tenant.legacy, *(name for name in given if name is not None)]


def owned(subject: Subject) -> list[Check]:
    """No sentinel left, and every tenant as the pattern has it."""
    tenants, plan = subject.tenants, subject.plan
    sentinel = "NULL" if plan.tenant.sentinel_value is None else repr(plan.tenant.sentinel_value)
    malformed = f"{tenants.malformed} rows of other tenants, such as {tenants.malformed_tenants}"
    return [
        Check(
            f"{subject.name}: every row has a tenant",
            tenants.unfilled == 0,
            f"{tenants.unfilled} of {tenants.total} rows hold {sentinel}",
            "verify.tenants",
        ),
        Check(
            f"{subject.name}: every tenant matches the pattern",
            tenants.malformed == 0,
            malformed if tenants.malformed else f"{tenants.tenants} tenants match {plan.tenant.pattern}",
            "verify.tenants",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Edge:
    """Where a table points inside the plan, by (ours, theirs) columns; `held` by a foreign key."""

    parent: str
    pairs: tuple[tuple[str, str], ...]
    held: bool


def _edges(subject: Subject, original: Catalog) -> Iterator[_Edge]:
    """Where this table points; each only once."""
    by_place = {(table.schema_, table.name): name for name, table in original.tables.items()}
    seen = set()
    for key in subject.original.foreign_keys:
        parent = by_place.get((key.target_schema, key.target))
        pairs = tuple(
            (ours, theirs)
            for ours, theirs in zip(key.columns, key.target_columns, strict=True)
            if ours != subject.column
        )
        if parent is not None and (parent, pairs) not in seen:
            seen.add((parent, pairs))
            yield _Edge(parent, pairs, held=True)
    if isinstance(subject.table.tenant, Parent):
        source = subject.table.tenant
        pairs = tuple(source.on.items())
        if source.parent in original.tables and (source.parent, pairs) not in seen:
            yield _Edge(source.parent, pairs, held=False)


def edges(subject: Subject, original: Catalog, live: Catalog, hidden: Container[int]) -> list[Check]:
    """No row whose parent is another tenant's, or is missing where a foreign key says it is there.

    Without one an application may delete parents as it likes, and a row keeps the tenant that it had. Parents
    `hidden` (oids) can't be looked for.
    """
    checks = []
    may_cross = subject.plan.tenant.cross_tenant == "source"
    crossing_ones = [
        (edge.parent, edge.pairs)
        for edge in crossing.edges(subject.plan, original)
        if may_cross and edge.table == subject.name
    ]
    for edge in _edges(subject, original):
        parent, pairs = edge.parent, edge.pairs
        if live.tables[parent].oid in hidden:
            continue
        strays = verify.strays(
            subject.connection,
            child=subject.found.identifier,
            parent=live.tables[parent].identifier,
            pairs=pairs,
            column=subject.column,
            missing=edge.held,
        )
        columns = ", ".join(ours for ours, _ in pairs)
        checks.append(
            Check(
                f"{subject.name}: ({columns}) stays within the tenant",
                None if (parent, pairs) in crossing_ones else strays.rows == 0,
                _strays(strays, parent),
                "verify.edges",
            )
        )
    return checks


def _strays(strays: verify.Strays, parent: str) -> str:
    if strays.rows == 0:
        return f"every row finds its {parent} in its own tenant"
    return f"{strays.rows} rows find no {parent} in their own tenant, such as one that names {strays.example}"
