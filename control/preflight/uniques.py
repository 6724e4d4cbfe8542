"""What is to be unique within each tenant: what leans on it, and what it can't do for a while."""

from collections.abc import Iterator

from control.keys.sides import Side
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres.unique import leaning


def look(ground: Ground, old: Side) -> Iterator[Finding]:
    """Every fact about them; there is at least one."""
    tenant = ground.plan.tenant.column
    yield none_of(
        "what leans on what is to be unique within each tenant",
        [
            f"{leans} on {one.name} of {one.table}"
            for one in old.uniques
            for leans in leaning(ground.connection, one.was.oid, one.name, tenant)
        ],
        level="stop",
        way_out="it can't be exchanged under them, and CASCADE would take them along: let ON CONFLICT name "
        "columns there, not the constraint, or leave it out of `unique`",
        fine="no function or rule",
    )
    patient = [one.name for one in old.uniques if one.constraint is not None and one.constraint.deferrable]
    yield none_of(
        "unique within each tenant",
        patient,
        level="warn",
        way_out="DEFERRABLE: from `indexes` until `keys`, and on the way back, it is checked at once: there "
        "no two rows of a tenant can exchange their values",
        fine=", ".join(f"{one.name} of {one.table}" for one in old.uniques),
    )
