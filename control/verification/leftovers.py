"""What the migration leaves in the database beside its ledger, and what leads round row-level security."""

from collections.abc import Iterable, Iterator, Sequence

from control import names
from control.plan.model import Plan
from control.policies import Target
from control.stage import Ground
from control.status import LAST
from control.verification.check import Check, Subject, listed
from sql.postgres import aftermath, preflight, rls, surroundings
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from worker import ledger

#: Ways round that are named; the others are counted.
_MOST = 10


def _temporary(plan: Plan, original: Catalog) -> Iterator[str]:
    """The names that things have for a while: the shortened ones can't be told by their ending."""
    for table in original.tables.values():
        yield names.not_null_check(table, plan.tenant.column)
        keys = [*table.foreign_keys, *table.referenced_by]
        uniques = [name for planned in plan.tables for name in planned.unique]
        for name in (names.primary_key(table), *(key.name for key in keys), *uniques):
            yield names.incoming(name)
            yield names.returning(name)


def nothing_left(ground: Ground) -> Check:
    """Whether nothing is left that was made for a while only."""
    connection, original = ground.connection, ground.original
    tables = preflight.trees(connection, [table.oid for table in original.tables.values()])
    found = aftermath.leftovers(connection, sorted(set(_temporary(ground.plan, original))), tables)
    stages = ledger.stages(connection, ground.migration) if ground.migration else {}
    begun = [name for name, stage in stages.items() if stage.state != "done" and name != LAST]
    # Halfway it is no litter: an operator who went by the advice dropped the index of the key to come.
    way_out = (
        f"{begun[0]} is not done, and needs it: leave it to `tenantry run`" if begun else "DROP what is left"
    )
    evidence = "no temporary constraint, index, function, sequence or schema"
    return Check(
        "nothing is left but the ledger",
        not found,
        f"{listed(found, _MOST)}; {way_out}" if found else evidence,
        "aftermath.leftovers",
    )


def ways_round(connection: Connection, subjects: Sequence[Subject]) -> Iterator[Check]:
    """Whatever shows or takes rows without asking a policy; told, because some of it is meant."""
    for subject in subjects:
        if subject.table.rls is None:
            continue
        oid = [subject.found.oid, *(part.oid for part in subject.found.partitions)]
        ours = Target(subject.name, subject.table.rls, subject.original).ours
        policies = [p.name for p in subject.found.policies if p.permissive and p.name not in ours]
        found = [
            *_each("policy", policies),
            *surroundings.views_past_policies(connection, oid),
            *_each("function", surroundings.functions_past_policies(connection, [subject.found.name])),
            *_each("TRUNCATE by", rls.truncating_roles(connection, subject.found.oid)),
        ]
        evidence = listed(found, _MOST) or "no view, function, other policy or right to TRUNCATE"
        name = f"{subject.name}: ways round row-level security"
        yield Check(name, None, evidence, "surroundings.views_past_policies")
    if any(subject.table.rls is not None for subject in subjects):
        roles = listed(aftermath.bypassing_roles(connection), _MOST)
        yield Check("roles that no policy holds", None, roles or "none logs in", "aftermath.bypassing_roles")


def _each(kind: str, found: Iterable[str]) -> list[str]:
    return [f"{kind} {one}" for one in found]
