"""What tenants' schemas are called, and which names can't be."""

from collections.abc import Iterable, Iterator

from control.names import fitting
from control.plan.model import Plan

#: PostgreSQL cuts longer names without a word, and two of them could become one.
LONGEST = 63
#: So many are named, the others counted.
SOME = 5


def schema_of(tenant: str) -> str:
    """The name of a tenant's schema: folded, so that as a rule it can be written without quotes."""
    return "tenant_" + tenant.lower().replace("-", "_")


def shared_name(table: str) -> str:
    """What a shared table is called once it is out of the way."""
    return fitting(f"{table}_shared")


def refused(plan: Plan, tenants: Iterable[str | None]) -> Iterator[str]:
    """Why tenants can't have a schema each."""
    names: dict[str, str] = {}
    for tenant in sorted(tenants, key=lambda one: one or ""):
        if tenant is None or tenant in {"", plan.tenant.sentinel_value}:
            yield f"there are rows without a tenant ({plan.tenant.column} is {tenant!r})"
            continue
        name = schema_of(tenant)
        if len(name.encode()) > LONGEST:
            yield f"the schema of tenant {tenant!r} would have a name of more than {LONGEST} bytes"
        elif name in names:
            yield f"tenants {names[name]!r} and {tenant!r} would share the schema {name}"
        names.setdefault(name, tenant)


def listed(facts: list[str]) -> tuple[str, ...]:
    """The first few facts, and how many more there are."""
    more = (f"and {len(facts) - SOME} more",) if len(facts) > SOME else ()
    return (*facts[:SOME], *more)
