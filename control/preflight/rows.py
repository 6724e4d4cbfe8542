"""The rows: whether each one's tenant can be worked out, is a proper one, and the same as its parents'."""

from collections.abc import Iterator

import psycopg
from psycopg import sql

from control.jobs import key_of
from control.plan.model import Table as PlanTable
from control.preflight.finding import Finding, Level
from control.stage import Ground
from sql.postgres import planned as to_be
from sql.postgres import preflight, verify
from sql.tenant_source import Parent, last_resort

#: A count on a big table may take so long, in milliseconds; then it isn't known.
LIMIT_MS = 30_000


def planned(ground: Ground, table: str) -> sql.Composed:
    """A table of the plan with the tenants that its rows will have, for a FROM."""
    sources = {t.name: ground.plan.source_of(t) for t in ground.plan.tables}
    tables = {name: found.identifier for name, found in ground.original.tables.items()}
    return to_be.planned(sources, tables, table)


def look(ground: Ground, limit_ms: int = LIMIT_MS) -> Iterator[Finding]:
    """Every fact about the rows; each count is given up after `limit_ms` milliseconds.

    The tables, their columns and the tenant sources must have passed before.
    """
    broken = _pattern(ground)
    yield broken
    if broken.level == "stop":
        return
    counted = [
        finding
        for table in ground.plan.tables
        if table.constant is None
        for finding in _counted(ground, table, limit_ms)
    ]
    yield from counted
    # An edge between tenants that can't be worked out crosses nothing, or fails on the same row again.
    if all(finding.level != "stop" for finding in counted):
        for table in ground.plan.tables:
            yield from _edges(ground, table, limit_ms)


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
    there = planned(ground, table.name)
    key = [column.name for column in key_of(ground.original.table(table.name))]
    try:
        with connection.transaction(force_rollback=True):
            preflight.limit(connection, limit_ms)
            counted = verify.tenants(
                connection,
                sql.SQL("{} AS planned").format(there),
                to_be.TENANT_NAME,
                sentinel="",
                pattern=tenant.pattern,
                some=0,
                named=(),
            )
            examples = preflight.unresolved(connection, there, key) if counted.unfilled else []
    except psycopg.errors.QueryCanceled:
        yield _given_up(resolved, limit_ms)
        return
    except psycopg.errors.DataError as error:
        yield Finding(
            "stop", resolved, f"the server says: {error.diag.message_primary}", "correct the expression"
        )
        return
    level: Level = "stop" if tenant.unresolved == "stop" else "warn"
    aside = "" if level == "stop" else "; as it is they go into quarantine, and all after the backfill waits"
    if counted.unfilled:
        fact = f"{counted.unfilled} of {counted.total} rows have none, such as {', '.join(examples)}"
        way_out = f"mend the rows or the source, or give the source `otherwise`{aside}"
        yield Finding(level, resolved, fact, way_out)
    else:
        yield Finding("pass", resolved, f"all {counted.total} rows, {counted.tenants} tenants")
    if counted.malformed:
        instead = last_resort(ground.plan.source_of(table))
        fact = f"{counted.malformed} rows would belong to {', '.join(map(repr, counted.malformed_tenants))}"
        way_out = "mend the values or the source, or widen tenant.pattern"
        way_out += aside if instead is None else f"; as it is they belong to {instead}"
        yield Finding("stop" if instead is None and level == "stop" else "warn", proper, fact, way_out)
    else:
        yield Finding("pass", proper, "all of them")


def _given_up(name: str, limit_ms: int) -> Finding:
    seconds = limit_ms / 1000
    return Finding(
        "warn", name, f"not counted in {seconds:g} s", "count it on a copy, or trust the quarantine"
    )


def _edges(ground: Ground, table: PlanTable, limit_ms: int) -> Iterator[Finding]:
    """Foreign keys inside the plan whose ends would belong to two tenants."""
    original, tenant = ground.original, ground.plan.tenant
    by_place = {(found.schema_, found.name): name for name, found in original.tables.items()}
    told_by = {(s.parent, tuple(s.on.items())) for s in [table.tenant] if isinstance(s, Parent)}
    for key in original.tables[table.name].foreign_keys:
        parent = by_place.get((key.target_schema, key.target))
        pairs = tuple(zip(key.columns, key.target_columns, strict=True))
        if parent is None or (parent, pairs) in told_by:
            continue
        name = f"{table.name}: edges {key.name}"
        try:
            with ground.connection.transaction(force_rollback=True):
                preflight.limit(ground.connection, limit_ms)
                found = preflight.crossing(
                    ground.connection,
                    planned(ground, table.name),
                    planned(ground, parent),
                    pairs,
                    pattern=tenant.pattern,
                )
        except psycopg.errors.QueryCanceled:
            yield _given_up(name, limit_ms)
            continue
        if found.rows == 0:
            yield Finding("pass", name, "none crosses from one tenant to another")
            continue
        fact = f"{found.rows} rows name a {parent} of another tenant, such as {found.example}"
        if tenant.cross_tenant == "source":
            way_out = (
                f"as the plan takes them: {key.name} stays without the tenant, and what it points to unique"
            )
        else:
            way_out = "mend or delete them: a key with the tenant can't hold them"
        yield Finding("stop" if tenant.cross_tenant == "stop" else "warn", name, fact, way_out)
