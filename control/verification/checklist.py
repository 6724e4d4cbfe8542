"""Every check of a migration, in the order in which they are read."""

from control.stage import Ground
from control.verification import isolation, rows, speed, structure
from control.verification.check import Check, Subject
from sql.postgres import catalog, verify
from sql.postgres.ledger import JOBS, send
from worker import jobs


def run_checks(ground: Ground) -> list[Check]:
    """Look at everything that must hold at the end; changes nothing.

    Raises:
        psycopg.Error: the server can't answer, or a table or its tenant column isn't there.
    """
    plan, connection = ground.plan, ground.connection
    live = catalog.read(connection, [table.name for table in plan.tables])
    subjects = [
        Subject(
            connection,
            plan,
            table,
            ground.original.tables[table.name],
            live.tables[table.name],
            verify.tenants(
                connection,
                live.tables[table.name].identifier,
                plan.tenant.column,
                sentinel=plan.tenant.sentinel_value,
                pattern=plan.tenant.pattern,
                some=rows.SOME,
                named=rows.named_tenants(plan),
            ),
        )
        for table in plan.tables
    ]
    checks: list[Check] = []
    for subject in subjects:
        checks += rows.owned(subject)
        checks += rows.edges(subject, ground.original, live)
        checks += [structure.primary_key(subject), structure.foreign_keys(subject, ground.original)]
        checks.append(structure.indexes(subject))
        if subject.table.rls is None:
            name = f"{subject.name}: row-level security"
            checks.append(Check(name, None, "the plan has none for this table", "catalog.tables"))
    checks += _tried(ground, subjects, live)
    checks.append(structure.write_guard(connection, plan, ground.original))
    checks.append(_ledger(ground))
    return checks


def _tried(ground: Ground, subjects: list[Subject], live: catalog.Catalog) -> list[Check]:
    """What is tried as a role that is nobody; one false check where no such role can be made."""
    refused = verify.can_be_nobody(ground.connection)
    if refused is not None:
        evidence = (
            f"can't be tried: {refused}; run `tenantry verify` as a role that may make roles and grant "
            "pg_read_all_data and pg_write_all_data"
        )
        return [Check("isolation", ok=False, evidence=evidence, query="verify.role")]
    checks: list[Check] = []
    for subject in subjects:
        if subject.table.rls is not None:
            checks += isolation.isolation(subject, subject.table.rls, live)
            checks.append(speed.overhead(subject))
        checks.append(speed.index_used(subject))
    return [*checks, *speed.queries(ground.connection, ground.plan, subjects)]


def _ledger(ground: Ground) -> Check:
    """Every table's backfill complete, and no row set aside."""
    name = "ledger: every backfill is complete"
    if not ground.migration:
        return Check(name, None, "there is no ledger yet", "jobs.of_migration")
    begun = jobs.of_migration(ground.connection, ground.migration)
    aside = send(ground.connection, JOBS.count_quarantined, migration=ground.migration)[0]["count"]
    open_jobs = [f"{job.table} is {job.state}" for job in begun if job.state != "complete"]
    evidence = f"{len(begun)} jobs complete, {sum(job.rows_total for job in begun)} rows"
    if open_jobs or aside:
        evidence = "; ".join([*open_jobs, *([f"{aside} rows in quarantine"] if aside else [])])
    return Check(name, not open_jobs and not aside, evidence, "jobs.of_migration")
