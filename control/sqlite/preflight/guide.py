"""What an operator ticks off before a migration: volume, backup, application, isolation, way back."""

from collections.abc import Iterator, Mapping

from control.preflight.finding import Finding
from control.sqlite.stage import Ground
from sql.sqlite.preflight import Size


def look(ground: Ground, found: Mapping[str, Size]) -> Iterator[Finding]:
    """Every point of it."""
    yield _volume(ground, found)
    yield look_at_backup(ground)
    yield from _application(ground)
    yield _way_back(ground)


def _volume(ground: Ground, found: Mapping[str, Size]) -> Finding:
    planned = [found[ground.original.table(table.name).name] for table in ground.plan.tables]
    rows, size = sum(one.rows for one in planned), sum(one.bytes_ + one.index_bytes for one in planned)
    return Finding("pass", "volume", f"{rows:,} rows in {len(planned)} tables, {size / 1e6:,.0f} MB")


def look_at_backup(ground: Ground) -> Finding:
    """Tell whether there will be a backup."""
    of = ground.plan.backup
    if of is None:
        way_out = "add [backup] path, or vouch for one of your own"
        return Finding("warn", "backup", "the plan has none", way_out)
    return Finding("pass", "backup", f"SQLite's online backup writes {of.path}")


def _application(ground: Ground) -> Iterator[Finding]:
    keyed = [table.name for table in ground.plan.tables if table.primary_key is not None or table.unique]
    if keyed:
        fact = f"not seen: whether INSERT OR REPLACE or ON CONFLICT write to {', '.join(keyed)}"
        way_out = (
            "look in the code: from `keys` on ON CONFLICT must name the tenant's column too, and REPLACE "
            "replaces "
            "a row of its own tenant alone; a REPLACE also deletes without firing delete triggers"
        )
        yield Finding("warn", "application's statements", fact, way_out)
    fact = "SQLite has no row-level security: only the application's statements keep tenants apart"
    way_out = "docs/sqlite.md: views by tenant, and a check that finds unscoped statements"
    yield Finding("warn", "isolation", fact, way_out)


def _way_back(ground: Ground) -> Finding:
    fact = "`tenantry rollback` from every stage, online"
    plan = ground.plan
    shared = ["id"] if any(table.primary_key is not None for table in plan.tables) else []
    shared += [f"value in {name}" for table in plan.tables for name in table.unique]
    if shared:
        fact += f", until two tenants have the same {' or '.join(shared)}: after that it can't come back"
    if plan.backup is not None:
        fact += f"; `tenantry restore {plan.backup.path}` with the loss of what came after"
    column, original = plan.tenant.column, ground.original
    kept = [table.name for table in plan.tables if original.table(table.name).column(column) is not None]
    if kept:
        way_out = f"UPDATE it yourself after a rollback, or begin with a table that has no {column}"
        told = f"{fact}; but {column} of {', '.join(kept)} is there already, and keeps what is filled in"
        return Finding("warn", "way back", told, way_out)
    return Finding("pass", "way back", fact)
