"""What must hold where each tenant has a schema: the same rows, the same structure, nothing shared."""

from collections.abc import Iterator, Sequence

from psycopg import sql

from control.schemas.comparing import differences
from control.schemas.patterns import Patterns, patterns
from control.stage import Ground
from control.verification import health
from control.verification.check import Check, listed, nobody
from sql.postgres import schemas, verify
from sql.postgres.schemas import STATEMENTS, Pattern, Schema
from worker import jobs

#: Tenants that a role which is nobody is tried with, and structures that are read at a time.
SAMPLE, TOGETHER = 5, 50


def run_checks(ground: Ground) -> list[Check]:
    """Look at everything that must hold; changes nothing."""
    connection = ground.connection
    if not schemas.mirrored(connection):
        evidence = "no tenant has a schema yet: `tenantry run` makes them, and nothing is verified before"
        return [Check("schemas", ok=False, evidence=evidence, query="schemas_mirror.is_there")]
    found, there = patterns(ground), schemas.schemas(connection)
    away = schemas.switched(connection)
    return [
        _every_tenant(ground, there),
        _same(ground, found, there),
        _structure(ground, found, there, away=away),
        _references(ground, there),
        _away(there, away=away),
        *_isolation(ground, found, there),
        _ledger(ground),
        _way_back(ground),
        *health.checks(ground),
    ]


def _every_tenant(ground: Ground, there: Sequence[Schema]) -> Check:
    noted = schemas.strays(ground.connection)
    evidence = f"{len(there)} schemas"
    if noted:
        evidence = listed(
            [f"{rows} rows were written for {tenant!r}, which has none" for tenant, rows in noted]
        )
    return Check("every tenant has its schema", not noted, evidence, "schemas_mirror.strays")


def _same(ground: Ground, found: Patterns, there: Sequence[Schema]) -> Check:
    """Rows and checksums; what has an id that another tenant has too can be on one side only."""
    apart = schemas.apart(ground.connection)
    if apart is not None:
        evidence = f"{apart[0]} rows have ids that another tenant has too: the shared tables don't hold them"
        return Check("shared and tenants' tables are the same", None, evidence, "schemas_mirror.apart")
    differing = list(differences(ground.plan, ground.connection, found.named, there))
    evidence = f"rows and checksums of {len(there)} tenants and {len(found.every)} tables each"
    return Check(
        "shared and tenants' tables are the same",
        not differing,
        listed(differing) if differing else evidence,
        "schemas_copy.sums",
    )


def _structure(ground: Ground, found: Patterns, there: Sequence[Schema], *, away: bool) -> Check:
    wrong: list[str] = []
    for start in range(0, len(there), TOGETHER):
        wrong += _unlike(ground, found, there[start : start + TOGETHER], away=away)
    evidence = (
        "columns, indexes, constraints, privileges, comments and triggers of every table are the original's"
    )
    return Check(
        "tenants' tables are like the originals",
        not wrong,
        listed(wrong) if wrong else evidence,
        "schemas.pattern",
    )


def _unlike(ground: Ground, found: Patterns, there: Sequence[Schema], *, away: bool) -> Iterator[str]:
    connection, column = ground.connection, ground.plan.tenant.column
    names = [(schema, pattern) for schema in there for pattern in found.every]
    asked = [sql.Identifier(schema.name, pattern.name).as_string() for schema, pattern in names]
    oids = [row[0] for row in connection.execute(STATEMENTS.oids.compose(), {"names": asked})]
    now = schemas.patterns(connection, [oid for oid in oids if oid is not None])
    for (schema, pattern), oid in zip(names, oids, strict=True):
        if oid is None:
            yield f"{schema.name}.{pattern.name} is not there"
            continue
        is_, was = _facts(now[oid], None), _facts(pattern, column)
        # While they are mirrored triggers are held, and foreign keys are looked at later.
        keys = [key for key in was if away or key not in {"triggers", "references_"}]
        if wrong := [key.rstrip("_") for key in keys if is_[key] != was[key]]:
            yield f"{', '.join(wrong)} of {schema.name}.{pattern.name}"


def _facts(pattern: Pattern, column: str | None) -> dict[str, object]:
    """What is the same of a table and of its copy; `column` is left out where copies have none."""
    dumped = pattern.model_dump()
    own = [
        (c.name, c.target, c.options)
        for c in pattern.columns
        if column is None or pattern.had_tenant or c.name != column
    ]
    indexes = [
        {**one, "columns": (), "definition": one["definition"].replace(f" ON {pattern.quoted} ", " ON it ")}
        for one in dumped["indexes"]
    ]
    triggers = [
        {**one, "definition": one["definition"].replace(f" ON {pattern.quoted} ", " ON it ")}
        for one in dumped["triggers"]
    ]
    return {
        "columns": own,
        "indexes": indexes,
        "references_": [
            (r.name, r.columns, r.deferrable, r.deferred, r.comment) for r in pattern.references_
        ],
        "statistics": [(one.name, one.target, one.comment) for one in pattern.statistics],
        "triggers": triggers,
        **{
            name: dumped[name]
            for name in ("owner", "comment", "options", "grants", "owner_lacks", "replica_identity", "key")
        },
    }


def _references(ground: Ground, there: Sequence[Schema]) -> Check:
    asked = {"schemas": [schema.name for schema in there]}
    rows = ground.connection.execute(STATEMENTS.not_valid.compose(), asked).fetchall()
    return Check(
        "tenants' foreign keys are valid",
        not rows,
        listed([name for (name,) in rows]) if rows else "every one",
        "schemas.not_valid",
    )


def _away(there: Sequence[Schema], *, away: bool) -> Check:
    unsettled = [schema.name for schema in there if schema.state != "settled"]
    ok = away and not unsettled
    evidence = (
        "no shared table is found by its name any more" if away else "the shared tables have their names"
    )
    if unsettled and away:
        evidence = f"{listed(unsettled)}: not as they are to stay yet; `tenantry run`"
    return Check("shared tables are out of the way", ok, evidence, "schemas_mirror.is_switched")


def _isolation(ground: Ground, found: Patterns, there: Sequence[Schema]) -> Iterator[Check]:
    """Whoever has one tenant's schema in its path reaches that one's rows, by names without a schema."""
    name, connection = "isolation", ground.connection
    refused = verify.can_be_nobody(connection) if ground.plan.verify.role is None else None
    if refused is not None:
        yield Check(name, None, f"not tried: {refused}", "verify.role")
        return
    wrong: list[str] = []
    for schema in there[:SAMPLE]:
        for pattern in found.every:
            own = sql.Identifier(schema.name, pattern.name)
            with verify.snapshot(connection), nobody(connection, ground.plan) as role:
                ((rows,),) = connection.execute(STATEMENTS.count.compose(table=own)).fetchall()
                path = sql.SQL(", ").join([sql.Identifier(schema.name), sql.Identifier(pattern.schema_)])
                connection.execute(STATEMENTS.path.compose(path=path))
                seen = role.value(schema.tenant, STATEMENTS.count.compose(table=sql.Identifier(pattern.name)))
            if seen != rows:
                wrong.append(f"{schema.name}: {seen} rows of {pattern.name}, of its own {rows}")
    evidence = f"tried with {min(SAMPLE, len(there))} of {len(there)} tenants, as a role that is nobody"
    yield Check(name, not wrong, listed(wrong) if wrong else evidence, "schemas.count")


def _ledger(ground: Ground) -> Check:
    begun = jobs.of_migration(ground.connection, ground.migration) if ground.migration else []
    left = [f"{job.table} is {job.state}" for job in begun if job.state != "complete"]
    evidence = listed(left) if left else f"{len(begun)} jobs complete"
    return Check("ledger: every backfill is complete", not left, evidence, "jobs.of_migration")


def _way_back(ground: Ground) -> Check:
    apart = schemas.apart(ground.connection)
    if apart is not None:
        evidence = f"closed: {apart[0]} rows have ids that another tenant has too"
    else:
        evidence = "open: the shared tables are kept current, and every write is written twice for it"
    return Check("the way back", None, evidence, "schemas_mirror.apart")
