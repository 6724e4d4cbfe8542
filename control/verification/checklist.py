"""Every check of a migration, in the order in which they are read."""

from collections.abc import Iterator

from control.stage import Ground
from control.verification import (
    health,
    isolation,
    ledgered,
    leftovers,
    reconciled,
    rows,
    separated,
    speed,
    structure,
)
from control.verification.check import Check, Subject
from sql.postgres import aftermath, catalog, facts, verify
from sql.postgres.verify import Tenants

#: Of a table whose rows are hidden from this session.
_HIDDEN = Tenants(total=0, unfilled=0, malformed=0, malformed_tenants=[], tenants=0, sample=[])


def run_checks(ground: Ground) -> list[Check]:
    """Look at everything that must hold at the end; changes nothing.

    Raises:
        psycopg.Error: the server can't answer.
        CatalogError: a table isn't there.
    """
    if ground.plan.separates:
        return separated.run_checks(ground)
    connection = ground.connection
    live = catalog.read(connection, [table.name for table in ground.plan.tables])
    if without := _without_column(ground, live):
        return without
    hidden = aftermath.under_policy(connection, [table.oid for table in live.tables.values()])
    subjects = list(_subjects(ground, live, hidden))
    seen = [subject for subject in subjects if subject.found.oid not in hidden]
    checks: list[Check] = []
    for subject in subjects:
        if subject in seen:
            checks += rows.owned(subject)
            checks += rows.edges(subject, ground.original, live, hidden)
        else:
            checks.append(_unseen(subject))
        checks += [structure.primary_key(subject), structure.foreign_keys(subject, ground.original)]
        checks.append(structure.indexes(subject))
        if subject.table.unique:
            checks.append(structure.unique_within_tenants(subject))
        if subject.table.rls is None:
            name = f"{subject.name}: row-level security"
            checks.append(Check(name, None, "the plan has none for this table", "catalog.tables"))
        else:
            checks.append(isolation.policy(subject, subject.table.rls, live))
    # Before the tries: their deletes are rolled back, and the server counts them all the same.
    checks += reconciled.checks(ground, seen)
    checks += _tried(ground, seen)
    checks += leftovers.ways_round(connection, subjects)
    checks.append(structure.write_guard(connection, ground.plan, ground.original))
    checks.append(ledgered.every_backfill(ground, "postgres"))
    checks.append(leftovers.nothing_left(ground))
    checks += health.checks(ground)
    return checks


def _without_column(ground: Ground, live: facts.Catalog) -> list[Check]:
    """Tables without the tenant column: of them nothing else can be asked, nor of those that lean on them."""
    column = ground.plan.tenant.column
    return [
        Check(
            f"{table.name}: tenant column",
            ok=False,
            evidence=f"there is no {column} yet: `tenantry run` adds it, and nothing is verified before",
            query="catalog.tables",
        )
        for table in ground.plan.tables
        if live.table(table.name).column(column) is None
    ]


def _subjects(ground: Ground, live: facts.Catalog, hidden: set[int]) -> Iterator[Subject]:
    plan, connection = ground.plan, ground.connection
    for table in plan.tables:
        found = live.tables[table.name]
        counted = _HIDDEN
        if found.oid not in hidden:
            counted = verify.tenants(
                connection,
                found.identifier,
                plan.tenant.column,
                sentinel=plan.tenant.sentinel_value,
                pattern=plan.tenant.pattern,
                some=rows.SOME,
                named=rows.named_tenants(plan),
            )
        yield Subject(connection, plan, table, ground.original.tables[table.name], found, counted)


def _unseen(subject: Subject) -> Check:
    evidence = (
        "not looked at: this role itself is held by the table's policy; run `tenantry verify` as a "
        "superuser, or give the role BYPASSRLS"
    )
    return Check(f"{subject.name}: its rows", None, evidence, "aftermath.under_policy")


def _tried(ground: Ground, subjects: list[Subject]) -> list[Check]:
    """What is tried as a role that is nobody; where there is none, only that it wasn't tried."""
    if not subjects:
        return []
    untried = _untried(ground, subjects)
    if untried is not None:
        return [untried]
    checks: list[Check] = []
    for subject in subjects:
        if subject.table.rls is not None:
            checks += isolation.isolation(subject, subject.table.rls)
            checks.append(speed.overhead(subject))
        checks.append(speed.index_used(subject))
    return [*checks, *speed.queries(ground.connection, ground.plan, subjects)]


def _untried(ground: Ground, subjects: list[Subject]) -> Check | None:
    """Why nothing can be tried as a role that is nobody: told, unless the plan names one that won't do."""
    named = ground.plan.verify.role
    if named is not None:
        held = sorted({role for subject in subjects for role in subject.roles})
        facts = verify.unfit(ground.connection, named, [s.found.oid for s in subjects], held)
        evidence = f"{named}, the role of [verify], can't try it: {'; '.join(facts)}"
        return Check("isolation", ok=False, evidence=evidence, query="verify.unfit") if facts else None
    refused = verify.can_be_nobody(ground.connection)
    if refused is None:
        return None
    evidence = (
        f"not tried: {refused}. Run `tenantry verify` as a superuser, or make a role that may read and write "
        "the tables, without BYPASSRLS, GRANT it to this one and name it as `role` in [verify] of the plan"
    )
    return Check("isolation", None, evidence, "verify.role")
