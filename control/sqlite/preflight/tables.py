"""The tables of the plan: their columns, names, triggers and indexes."""

from collections.abc import Iterator

from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding, none_of
from control.sqlite.preflight import keys, sources
from control.sqlite.stage import Ground, sentinel_of
from sql.sqlite import catalog, reading
from sql.sqlite.facts import Table, affinity
from sql.sqlite.names import folded

#: Where it is, what else is called so is a migration's.
_LEDGER = "tenantry_migrations"


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the tables, as the schema has it; all of them are there."""
    yield _names(ground)
    for table in ground.plan.tables:
        yield from _table(ground, table, ground.original.table(table.name))
    yield from keys.look(ground)


def _names(ground: Ground) -> Finding:
    """Before there is a ledger nothing may be called as what a migration makes."""
    ours = catalog.ours(ground.connection)
    taken = [] if _LEDGER in ours else sorted(ours)
    return none_of(
        f"names {catalog.OURS}…",
        taken,
        level="stop",
        way_out="what is called so from the start on is taken for the migration's own, and goes with "
        "it: rename it",
        fine="free",
    )


def _table(ground: Ground, table: PlanTable, found: Table) -> Iterator[Finding]:
    yield _tenant_column(ground, table, found)
    yield _key(table, found)
    if table.primary_key is not None:
        yield _null_in_key(ground, table, found)
    yield from sources.look(ground, table, found)
    yield _index_columns(ground, table, found)
    yield _index_names(ground, table)
    yield _triggers(ground, table, found)


def _tenant_column(ground: Ground, table: PlanTable, found: Table) -> Finding:
    name, column = f"{table.name}: tenant column", found.column(ground.plan.tenant.column)
    if column is None:
        return Finding("pass", name, f"{ground.plan.tenant.column} is not there yet")
    if column.generated:
        return Finding("stop", name, f"{column.name} is generated", "name another column, or drop it")
    if affinity(column.type) not in {"TEXT", "BLOB"}:
        fact = f"{column.name} is {column.type}, which makes a number of a tenant such as 007"
        return Finding("stop", name, fact, "only text keeps it as it is: name another column")
    return Finding("pass", name, f"{column.name} is there, {column.type}; rows that have a tenant keep it")


def _key(table: PlanTable, found: Table) -> Finding:
    name = f"{table.name}: key to page by"
    if found.without_rowid:
        return Finding("pass", name, f"({', '.join(found.primary_key)})")
    if (rowid := found.rowid_alias or found.rowid) is not None:
        return Finding("pass", name, rowid)
    fact = "columns are called rowid, _rowid_ and oid, and none of them is the rowid"
    return Finding("stop", name, fact, "give one of them another name: nothing tells its rows apart else")


def _null_in_key(ground: Ground, table: PlanTable, found: Table) -> Finding:
    """STRICT and WITHOUT ROWID refuse NULL in a key, where an ordinary table takes it."""
    name = f"{table.name}: rows without a tenant after keys"
    refuses = "WITHOUT ROWID" if found.without_rowid else "STRICT" if found.strict else None
    if refuses is None or found.rowid_alias is not None or sentinel_of(ground.plan) is not None:
        return Finding("pass", name, "the guard gives them theirs as before")
    fact = (
        f"a key of a {refuses} table refuses NULL: from `keys` on the guard can't help an insert without a "
        "tenant"
    )
    way_out = "it fails loudly then: confirm `application` only once every insert names the tenant"
    return Finding("warn", name, fact, way_out)


def _index_columns(ground: Ground, table: PlanTable, found: Table) -> Finding:
    wanted = {column for index in table.indexes for column in index.columns} - {ground.plan.tenant.column}
    return none_of(
        f"{table.name}: columns of indexes",
        sorted(column for column in wanted if found.column(column) is None),
        level="stop",
        way_out="they are not in the table: correct the plan",
        fine="all there",
    )


def _index_names(ground: Ground, table: PlanTable) -> Finding:
    """Tables, views and indexes share their names; an index of that name is looked at with the keys."""
    original = ground.original
    taken = {folded(name) for name in (*original.tables, *original.views, *original.others)}
    there = original.table(table.name)
    taken |= {
        folded(index.name)
        for other in original.tables.values()
        for index in other.indexes
        if other is not there
    }
    return none_of(
        f"{table.name}: names of indexes",
        [index.name for index in table.indexes if folded(index.name) in taken],
        level="stop",
        way_out="something else is called that: rename it, or name the plan's index differently",
        fine="free, or the table's own",
    )


def _triggers(ground: Ground, table: PlanTable, found: Table) -> Finding:
    """What a batch's update would set off."""
    name, column = f"{table.name}: triggers that the backfill fires", ground.plan.tenant.column
    if table.constant is not None and found.column(column) is None:
        return Finding("pass", name, "none: a constant tenant needs no backfill")
    fired = [one for one in found.triggers if reading.event(one.sql).fires_on_update_of(column)]
    told = [
        f"{one.name} (updates {table.name} itself: other columns of each row may change)"
        if folded(found.name) in reading.updated(one.sql)
        else one.name
        for one in fired
    ]
    return none_of(
        name,
        told,
        level="warn",
        way_out="the backfill updates every row: make sure that these may fire for each, or make them "
        "fire on "
        "UPDATE OF the columns that they are for",
        fine="none",
    )
