"""What of a plan may not be edited any more, because a stage has put it into the database.

A run, a verification and a way back all work from the plan: with another tenant column or policy name they
would look for what was never made, and leave behind what was. Limits, modes and waiting times may change.
"""

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from control.plan.model import Plan
from control.plan.sections import Isolation

#: Where the ledger keeps what of the plan the migration was begun with.
KEPT_AS = "plan"

#: The way to a value in the plan.
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was edited too late: what, where it stands now, and how it was."""

    what: str
    place: Place
    was: str


@dataclass(frozen=True, slots=True)
class _Part:
    """A value of the plan that `stage` puts into the database."""

    stage: str
    what: str
    place: Place
    value: str


def begun_with(plan: Plan) -> dict[str, str]:
    """What the ledger keeps of a plan; it holds no address, and so no password."""
    return {part.what: part.value for part in _parts(plan)}


def isolation_of(kept: Mapping[str, str]) -> Isolation:
    """The isolation that a migration was begun with, from what the ledger keeps of its plan."""
    return "separate_schema" if kept.get("tenant.isolation") == repr("separate_schema") else "shared_schema"


def changes(plan: Plan, kept: Mapping[str, str], begun: Container[str]) -> Iterator[Change]:
    """What was edited since `kept`, of that which the stages that have `begun` go by."""
    for part in _parts(plan):
        was = kept.get(part.what, part.value)
        if part.stage in begun and was != part.value:
            yield Change(part.what, part.place, was)


def _parts(plan: Plan) -> Iterator[_Part]:
    tenant = plan.tenant
    yield _Part("columns", "tenant.column", ("tenant", "column"), repr(tenant.column))
    yield _Part("preflight", "tenant.isolation", ("tenant", "isolation"), repr(tenant.isolation))
    yield _Part("columns", "tenant.sentinel", ("tenant", "sentinel"), repr(tenant.sentinel))
    # The guard has them in its functions.
    yield _Part("columns", "tenant.pattern", ("tenant", "pattern"), repr(tenant.pattern))
    yield _Part("columns", "tenant.unresolved", ("tenant", "unresolved"), repr(tenant.unresolved))
    yield _Part("columns", "tenant.moves", ("tenant", "moves"), repr(tenant.moves))
    yield _Part("rls", "tenant.setting", ("tenant", "setting"), repr(tenant.setting))
    yield _Part("rls", "tenant.legacy", ("tenant", "legacy"), repr(tenant.legacy))
    for at, table in enumerate(plan.tables):
        indexes = [{"name": index.name, "columns": list(index.columns)} for index in table.indexes]
        values = (
            ("columns", "tenant", table.tenant.model_dump(exclude_none=True)),
            ("indexes", "indexes", indexes),
            ("indexes", "primary_key", list(table.primary_key or ())),
            ("indexes", "unique", list(table.unique)),
            ("rls", "rls", table.rls and table.rls.policy),
        )
        for stage, key, value in values:
            yield _Part(stage, f"{key} of {table.name}", ("tables", at, key), repr(value))
