"""The rows: whether each one's tenant can be worked out, is a proper one, and the same as its parents'."""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from control.jobs import key_of
from control.keys import crossing
from control.plan.model import Plan
from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, Level
from control.stage import Ground
from sql.postgres import planned as to_be
from sql.postgres import preflight, verify
from sql.postgres.connection import Connection
from sql.postgres.facts import Catalog
from sql.tenant_source import last_resort
from worker.failure import Failure, sorted_by

#: A count on a big table may take so long, in milliseconds; then it isn't known.
LIMIT_MS = 30_000


def planned(plan: Plan, original: Catalog, table: str, some: sql.Composable | None = None) -> sql.Composed:
    """A table of the plan, or `some` of its rows, with the tenants that they will have, for a FROM."""
    sources = {t.name: plan.source_of(t) for t in plan.tables}
    tables: dict[str, sql.Composable] = {name: found.identifier for name, found in original.tables.items()}
    tables |= {} if some is None else {table: some}
    has = to_be.kept(plan.tenant.column, plan.tenant.sentinel_value)
    kept = {
        name: has for name, found in original.tables.items() if found.column(plan.tenant.column) is not None
    }
    return to_be.planned(to_be.Planned(sources, tables, kept), table)


def counted(
    connection: Connection, there: sql.Composable, key: Sequence[str], pattern: str
) -> tuple[verify.Tenants, list[str]]:
    """Count the rows of a `planned` table by their tenants; name a few by `key` that have none."""
    found = verify.tenants(
        connection,
        sql.SQL("{} AS planned").format(there),
        to_be.TENANT_NAME,
        sentinel="",
        pattern=pattern,
        some=0,
        named=(),
    )
    return found, preflight.unresolved(connection, there, key) if found.unfilled else []


def look(ground: Ground, limit_ms: int = LIMIT_MS) -> Iterator[Finding]:
    """Every fact about the rows; each count is given up after `limit_ms` milliseconds.

    The tables, their columns and the tenant sources must have passed before.
    """
    broken = _pattern(ground)
    yield broken
    if broken.level == "stop":
        return
    told = [
        finding
        for table in ground.plan.tables
        if table.constant is None
        for finding in _counted(ground, table, limit_ms)
    ]
    yield from told
    # An edge between tenants that can't be worked out crosses nothing, or fails on the same row again.
    if all(finding.level != "stop" for finding in told):
        for edge in crossing.edges(ground.plan, ground.original):
            yield _crossed(ground, edge, limit_ms)


def _pattern(ground: Ground) -> Finding:
    """The pattern is one that the server reads too, and the plan's own tenants match it."""
    tenant = ground.plan.tenant
    given = [last_resort(table.tenant) for table in ground.plan.tables]
    try:
        named = [tenant.legacy, *(name for name in given if name is not None)]
        broken = preflight.breaking(ground.connection, named, tenant.pattern)
    except psycopg.errors.InvalidRegularExpression as error:
        return Finding(
            "stop", "pattern", f"the server can't read it: {error.diag.message_primary}", "correct it"
        )
    if broken:
        return Finding("stop", "pattern", f"{', '.join(broken)} of the plan break it", "correct the plan")
    return Finding("pass", "pattern", f"{tenant.pattern} holds for the plan's own tenants")


def _counted(ground: Ground, table: PlanTable, limit_ms: int) -> Iterator[Finding]:
    connection, tenant = ground.connection, ground.plan.tenant
    resolved, proper = f"{table.name}: tenants worked out", f"{table.name}: tenants match the pattern"
    there = planned(ground.plan, ground.original, table.name)
    key = [column.name for column in key_of(ground.original.table(table.name))]
    try:
        with connection.transaction(force_rollback=True):
            preflight.limit(connection, limit_ms)
            found, examples = counted(connection, there, key, tenant.pattern)
    except psycopg.errors.QueryCanceled:
        yield given_up(resolved, limit_ms)
        return
    except psycopg.Error as error:
        # What a batch would set its rows aside for: a function of the operator's may raise any code.
        if sorted_by(error.sqlstate) is not Failure.DATA:
            raise
        yield Finding(
            "stop", resolved, f"the server says: {error.diag.message_primary}", "correct the expression"
        )
        return
    level: Level = "stop" if tenant.unresolved == "stop" else "warn"
    aside = "" if level == "stop" else "; as it is they go into quarantine, and all after the backfill waits"
    if found.unfilled:
        fact = f"{found.unfilled} of {found.total} rows have none, such as {', '.join(examples)}"
        way_out = f"mend the rows or the source, or give the source `otherwise`{aside}"
        yield Finding(level, resolved, fact, way_out)
    else:
        yield Finding("pass", resolved, f"all {found.total} rows, {found.tenants} tenants")
    if found.malformed:
        instead = last_resort(ground.plan.source_of(table))
        fact = f"{found.malformed} rows would belong to {', '.join(map(repr, found.malformed_tenants))}"
        way_out = "mend the values or the source, or widen tenant.pattern"
        way_out += aside if instead is None else f"; as it is they belong to {instead}"
        yield Finding("stop" if instead is None and level == "stop" else "warn", proper, fact, way_out)
    else:
        yield Finding("pass", proper, "all of them")


def given_up(name: str, limit_ms: int) -> Finding:
    """What took too long to count."""
    seconds = limit_ms / 1000
    return Finding(
        "warn", name, f"not counted in {seconds:g} s", "count it on a copy, or trust the quarantine"
    )


def _crossed(ground: Ground, edge: crossing.Edge, limit_ms: int) -> Finding:
    """A foreign key inside the plan whose ends would belong to two tenants."""
    plan, original = ground.plan, ground.original
    name = f"{edge.table}: edges {edge.key.name}"
    try:
        with ground.connection.transaction(force_rollback=True):
            preflight.limit(ground.connection, limit_ms)
            found = preflight.crossing(
                ground.connection,
                planned(plan, original, edge.table),
                planned(plan, original, edge.parent),
                edge.pairs,
                pattern=plan.tenant.pattern,
            )
    except psycopg.errors.QueryCanceled:
        return given_up(name, limit_ms)
    if found.rows == 0:
        return Finding("pass", name, "none crosses from one tenant to another")
    fact = f"{found.rows} rows name a {edge.parent} of another tenant, such as {found.example}"
    if plan.tenant.cross_tenant == "source":
        way_out = (
            f"as the plan takes them: {edge.key.name} stays without the tenant, and what it points to unique"
        )
    else:
        way_out = "mend or delete them: a key with the tenant can't hold them"
    return Finding("stop" if plan.tenant.cross_tenant == "stop" else "warn", name, fact, way_out)
