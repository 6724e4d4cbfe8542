"""The rows: whether each one's tenant can be worked out, is a proper one, and the same as its parents'."""

import sqlite3
from collections.abc import Iterator

from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, Level
from control.preflight.rows import given_up
from control.sqlite.crossing import Edge, edges
from control.sqlite.preflight.integrity import LIMIT
from control.sqlite.preflight.sources import rows_of
from control.sqlite.stage import Ground
from control.sqlite.tenants import proper
from sql.sqlite import preflight
from sql.tenant_source import last_resort


def look(ground: Ground, limit: float = LIMIT) -> Iterator[Finding]:
    """Every fact about the rows; each count is given up after `limit` seconds.

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
        for finding in _counted(ground, table, limit)
    ]
    yield from told
    # An edge between tenants that can't be worked out crosses nothing, or fails on the same row again.
    if all(finding.level != "stop" for finding in told):
        for edge in edges(ground.plan, ground.original):
            yield _crossed(ground, edge, limit)


def _pattern(ground: Ground) -> Finding:
    tenant = ground.plan.tenant
    given = [tenant.legacy, *(last_resort(table.tenant) for table in ground.plan.tables)]
    broken = [name for name in dict.fromkeys(given) if name is not None and not proper(tenant.pattern, name)]
    if broken:
        return Finding("stop", "pattern", f"{', '.join(broken)} of the plan break it", "correct the plan")
    return Finding("pass", "pattern", f"{tenant.pattern} holds for the plan's own tenants")


def _counted(ground: Ground, table: PlanTable, limit: float) -> Iterator[Finding]:
    tenant, rows = ground.plan.tenant, rows_of(ground)
    resolved, proper_ = f"{table.name}: tenants worked out", f"{table.name}: tenants match the pattern"
    try:
        with preflight.limited(ground.connection, limit):
            found = rows.tenants(table.name)
            unfilled = found.pop(None, 0)
            examples = rows.unresolved(table.name) if unfilled else []
    except preflight.TooLongError:
        yield given_up(resolved, round(limit * 1000))
        return
    except sqlite3.OperationalError as error:
        yield Finding("stop", resolved, f"SQLite says: {error}", "correct the expression")
        return
    level: Level = "stop" if tenant.unresolved == "stop" else "warn"
    aside = "" if level == "stop" else "; as it is they go into quarantine, and all after the backfill waits"
    malformed = {name: count for name, count in found.items() if name and not proper(tenant.pattern, name)}
    total = sum(found.values()) + unfilled
    if unfilled:
        fact = f"{unfilled} of {total} rows have none, such as {', '.join(examples)}"
        way_out = f"mend the rows or the source, or give the source `otherwise`{aside}"
        yield Finding(level, resolved, fact, way_out)
    else:
        yield Finding("pass", resolved, f"all {total} rows, {len(found)} tenants")
    if not malformed:
        yield Finding("pass", proper_, "all of them")
        return
    instead = last_resort(ground.plan.source_of(table))
    fact = f"{sum(malformed.values())} rows would belong to {', '.join(map(repr, sorted(malformed)[:3]))}"
    way_out = "mend the values or the source, or widen tenant.pattern"
    way_out += aside if instead is None else f"; as it is they belong to {instead}"
    yield Finding("stop" if instead is None and level == "stop" else "warn", proper_, fact, way_out)


def _crossed(ground: Ground, edge: Edge, limit: float) -> Finding:
    """A foreign key inside the plan whose ends would belong to two tenants."""
    tenant, name = ground.plan.tenant, f"{edge.table}: edges by {edge.by}"
    try:
        with preflight.limited(ground.connection, limit):
            found = [
                row
                for row in rows_of(ground).crossing(edge.table, edge.parent, dict(edge.pairs))
                if proper(tenant.pattern, row["tenant"]) and proper(tenant.pattern, row["other"])
            ]
    except preflight.TooLongError:
        return given_up(name, round(limit * 1000))
    if not found:
        return Finding("pass", name, "none crosses from one tenant to another")
    example = min(str(row["example"]) for row in found)
    count = sum(row["rows"] for row in found)
    fact = f"{count} rows name a {edge.parent} of another tenant, such as {example}"
    way_out = "mend or delete them: a key with the tenant can't hold them"
    if tenant.cross_tenant == "source":
        way_out = (
            f"as the plan takes them: the foreign key stays on {edge.by} alone, and what it names unique"
        )
    return Finding("stop" if tenant.cross_tenant == "stop" else "warn", name, fact, way_out)
