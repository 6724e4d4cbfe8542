"""The tables of the plan: their columns, keys, names and policies."""

import re
from collections.abc import Iterator, Mapping

from psycopg import sql

from control.indexes import Wanted
from control.jobs import key_of, parts
from control.plan.sections import Table as PlanTable
from control.preflight import keys, kinds, row_security, sources, triggers
from control.preflight.finding import Finding, none_of
from control.stage import Ground
from sql.postgres import preflight
from sql.postgres.facts import Table
from sql.tenant_source import last_resort

#: Types of a tenant column that was there before.
_TEXT = re.compile(r"text|character varying(\((?P<longest>\d+)\))?")
#: Ways of paging that need a key.
_BY_KEY = ("keys", "contiguous", "striped")


def look(ground: Ground) -> Iterator[Finding]:
    """Every fact about the tables, as the catalog has it."""
    there = [(table, ground.original.tables.get(table.name)) for table in ground.plan.tables]
    yield none_of(
        "tables",
        [table.name for table, found in there if found is None],
        level="stop",
        way_out="correct their names in the plan, or the schema",
        fine=f"all {len(there)} are there",
    )
    leaders = sources.leaders(ground)
    for table, found in there:
        if found is not None:
            yield from _table(ground, table, found, leaders)
    if all(found is not None for _, found in there):
        yield from keys.look(ground)


def _table(ground: Ground, table: PlanTable, found: Table, leaders: Mapping[str, Table]) -> Iterator[Finding]:
    kind = list(kinds.look(ground, table, found))
    yield from kind
    if any(finding.level == "stop" for finding in kind):
        return
    yield _tenant_column(ground, table, found)
    yield _key(ground, table, found)
    if table.primary_key is not None:
        yield _new_key(ground, table, table.primary_key, found)
    yield from sources.look(ground, table, found, leaders)
    yield _index_columns(ground, table, found)
    yield _index_names(ground, table, found)
    yield none_of(
        f"{table.name}: invalid indexes",
        [i.name for part in parts(found) for i in part.indexes if not (i.valid and i.ready)],
        level="warn",
        way_out="DROP INDEX CONCURRENTLY them, or REINDEX: they cost writes and serve nobody",
        fine="none",
    )
    yield from row_security.look(ground, table, found)
    yield from triggers.look(ground, table, found)


def _tenant_column(ground: Ground, table: PlanTable, found: Table) -> Finding:
    name, column = f"{table.name}: tenant column", found.column(ground.plan.tenant.column)
    if column is None:
        return Finding("pass", name, f"{ground.plan.tenant.column} is not there yet")
    if column.generated or column.identity:
        return Finding("stop", name, f"{column.name} is generated", "name another column, or drop it")
    text = _TEXT.fullmatch(column.type)
    if text is None:
        return Finding(
            "stop", name, f"{column.name} is {column.type}", "only text is built yet: name another column"
        )
    # As a default it would fail the application's inserts, as a value every batch.
    given = (ground.plan.tenant.sentinel_value, last_resort(ground.plan.source_of(table)))
    long = [value for value in given if value is not None and len(value) > int(text["longest"] or len(value))]
    if long:
        fact = f"{column.name} is {column.type}, too short for {', '.join(map(repr, long))} of the plan"
        alter = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE text").format(
            found.identifier, sql.Identifier(column.name)
        )
        return Finding("stop", name, fact, f"{alter.as_string()}, which writes no row anew")
    return Finding("pass", name, f"{column.name} is there, {column.type}; rows that have a tenant keep it")


def _key(ground: Ground, table: PlanTable, found: Table) -> Finding:
    name = f"{table.name}: key to page by"
    if table.constant is not None and found.column(ground.plan.tenant.column) is None:
        return Finding("pass", name, "none is needed: a constant tenant needs no backfill")
    keyless = [part for part in parts(found) if not key_of(part)]
    wanted = ground.plan.paging_of(table)
    if not keyless:
        keys = dict.fromkeys(", ".join(column.name for column in key_of(part)) for part in parts(found))
        return Finding("pass", name, "; ".join(f"({key})" for key in keys) or "no partition, no row")
    which = "no primary key, and no unique index of whole columns that are NOT NULL"
    if found.kind == "p":
        which = f"{which}, in {', '.join(part.identifier.as_string() for part in keyless)}"
    if wanted in _BY_KEY:
        way_out = f'add one, or say paging = "pages" in its [[tables]], in place of "{wanted}"'
        return Finding("stop", name, which, way_out)
    by_place = "quarantine names a row by its place (ctid), which changes when the row does"
    return Finding("pass", name, f"{which}: it is paged by its pages, and {by_place}")


def _new_key(ground: Ground, table: PlanTable, key: tuple[str, ...], found: Table) -> Finding:
    name, tenant = f"{table.name}: columns of primary_key", ground.plan.tenant.column
    if tenant not in key:
        return Finding("stop", name, f"({', '.join(key)}) doesn't hold {tenant}", f"add {tenant} to it")
    columns = {c: found.column(c) for c in key if c != tenant}
    missing = [c for c, column in columns.items() if column is None]
    if missing:
        return Finding("stop", name, f"{', '.join(missing)} not in the table", "correct the plan")
    nullable = [c for c, column in columns.items() if column is not None and not column.not_null]
    if nullable:
        return Finding("stop", name, f"{', '.join(nullable)} may be NULL", "make them NOT NULL first")
    return Finding("pass", name, f"({', '.join(key)})")


def _index_columns(ground: Ground, table: PlanTable, found: Table) -> Finding:
    wanted = {column for index in table.indexes for column in index.columns} - {ground.plan.tenant.column}
    return none_of(
        f"{table.name}: columns of indexes",
        sorted(column for column in wanted if found.column(column) is None),
        level="stop",
        way_out="they are not in the table: correct the plan",
        fine="all there",
    )


def _index_names(ground: Ground, table: PlanTable, found: Table) -> Finding:
    """A name is free, or its index is the one that is wanted."""
    wanted = {index.name: index.columns for index in table.indexes}
    taken = preflight.taken_names(ground.connection, found.schema_, list(wanted))
    these = [Wanted(table.name, found, name, columns) for name, columns in wanted.items()]
    equal = {one.name for one in these if (i := found.index(one.name)) is not None and one.is_like(i)}
    adopted = [
        f"{other.name} serves as {one.name}"
        for one in these
        if (other := one.adopted(ground.original)) is not None
    ]
    fine = "free, or the wanted index is there" if taken else "free"
    return none_of(
        f"{table.name}: names of indexes",
        [name for name in taken if name not in equal],
        level="stop",
        way_out="something else is called that: rename it, or name the plan's index differently",
        fine="; ".join([fine, *adopted]),
    )
