"""What an operator ticks off before a migration: volume, backup, rehearsal, window, isolation, way back."""

from collections.abc import Iterator
from pathlib import Path

from control import backup, timings
from control.client_programs import tools
from control.preflight.estimate import Estimate
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from control.stages.backup import MEMORY
from sql.errors import BackupError, GivenWrongError
from sql.postgres import surroundings

#: By how much more the tables may have grown since the rehearsal.
GROWN = 1.5


def look(ground: Ground, costs: list[Estimate]) -> Iterator[Finding]:
    """Every point of it; the estimates of the stages tell about time."""
    yield _volume(ground)
    yield look_at_backup(ground)
    yield _rehearsal(ground)
    yield _window(ground, costs)
    yield _isolation(ground)
    yield _way_back(ground)


def _volume(ground: Ground) -> Finding:
    tables = list(ground.original.tables.values())
    rows = sum(max(0, table.rows) for table in tables)
    size = sum(table.bytes for table in tables)
    return Finding("pass", "volume", f"{rows:,} rows in {len(tables)} tables, {size / 1e6:,.0f} MB")


def look_at_backup(ground: Ground) -> Finding:
    """Tell whether there is a backup, or will be one."""
    of = ground.plan.backup
    if of is None:
        return Finding(
            "warn", "backup", "the plan has none", "add [backup] path, or vouch for one of your own"
        )
    try:
        folder = tools(ground.original.server_version)
    except BackupError as error:
        return Finding("stop", "backup", "pg_dump can't be used", str(error))
    path = Path(of.path)
    if ground.memory.recall(MEMORY) is None:
        if path.exists():
            return _taken_before(ground, path)
        if not path.parent.is_dir():
            return Finding("stop", "backup", f"there is no folder {path.parent}", "make it, or name another")
    return Finding("pass", "backup", f"{folder / 'pg_dump'} writes {of.path}")


def _taken_before(ground: Ground, path: Path) -> Finding:
    try:
        taken = backup.read(path)
    except GivenWrongError:
        fact = f"{path} is there already, and is not known as a backup"
        return Finding("stop", "backup", fact, "move it away, or name another")
    if taken.database != surroundings.identity(ground.connection):
        return Finding("stop", "backup", f"{path} is of another database", "move it away, or name another")
    fact = f"{path}, taken at {taken.taken_at:%Y-%m-%d %H:%M} UTC"
    if taken.age > backup.OLD:
        return Finding("warn", "backup", f"{fact}, is old", "move it away, and the run takes a new one")
    return Finding("pass", "backup", fact)


def _rehearsal(ground: Ground) -> Finding:
    found = timings.latest(ground.plan, ground.memory)
    if found is None:
        way_out = "`tenantry backup`, then `tenantry rehearse --into URL` of a server for trying things"
        return Finding("warn", "rehearsal", "this plan has not been rehearsed", way_out)
    fact = f"on {found.server} at {found.rehearsed_at:%Y-%m-%d %H:%M} UTC"
    grown = [
        f"{name} had {rows:,} rows"
        for name, rows in found.rows.items()
        if ground.original.tables[name].rows > GROWN * max(rows, 1)
    ]
    if grown:
        return Finding("warn", "rehearsal", f"{fact}: {'; '.join(grown)}", "rehearse with a newer backup")
    return Finding("pass", "rehearsal", fact)


def _window(ground: Ground, costs: list[Estimate]) -> Finding:
    seconds = sum(cost.seconds for cost in costs)
    downtime = sum(cost.downtime for cost in costs)
    hours = "; ".join(ground.plan.backfill.active) or "at any hour"
    fact = f"about {seconds / 60:.0f} min of work, {hours}; {downtime:.1f} s under strong locks, a blink each"
    return Finding("pass", "window", fact)


def _isolation(ground: Ground) -> Finding:
    plan = ground.plan
    if plan.separates:
        fact = "separate_schema; the application reaches a tenant's tables by its search_path"
        return Finding("pass", "isolation", fact)
    unguarded = [table.name for table in plan.tables if table.rls is None]
    if len(unguarded) == len(plan.tables):
        fact = f"{plan.tenant.isolation}; no table has a policy, and only the application keeps tenants apart"
        return Finding("pass", "isolation", fact)
    modes = ", ".join(dict.fromkeys(table.rls.mode for table in plan.tables if table.rls is not None))
    return none_of(
        "isolation",
        unguarded,
        level="warn",
        way_out="others have a policy, and these none: give them `rls`, or know that every tenant sees all",
        fine=f"{plan.tenant.isolation}; every table ends under a policy, {modes}",
    )


def _way_back(ground: Ground) -> Finding:
    fact = "`tenantry rollback` from every stage, online"
    shared = ["id"] if any(table.primary_key is not None for table in ground.plan.tables) else []
    if ground.plan.separates:
        shared = ["id"]
    shared += [f"value in {name}" for table in ground.plan.tables for name in table.unique]
    if shared:
        fact += f", until two tenants have the same {' or '.join(shared)}: after that it can't come back"
    if ground.plan.backup is not None:
        fact += f"; `tenantry restore {ground.plan.backup.path}` with the loss of what came after"
    column = ground.plan.tenant.column
    kept = [name for name, table in ground.original.tables.items() if table.column(column) is not None]
    if kept:
        # Which rows had a tenant before is nowhere on record, and 10 million of them would be much to record.
        way_out = f"UPDATE it yourself after a rollback, or begin with a table that has no {column}"
        told = f"{fact}; but {column} of {', '.join(kept)} is there already, and keeps what is filled in"
        return Finding("warn", "way back", told, way_out)
    return Finding("pass", "way back", fact)
