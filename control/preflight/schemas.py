"""What a schema for each tenant can't take over, or can't be kept the same."""

from collections import Counter
from collections.abc import Collection, Iterator

from control.preflight.finding import Finding, none_of
from control.schemas.naming import shared_name
from control.stage import Ground
from sql.postgres import schemas
from sql.postgres.facts import Table
from sql.postgres.schemas import Pattern

#: How the definition of a constraint ends that PostgreSQL 18 holds no row to.
_NOT_ENFORCED = " NOT ENFORCED"
#: How that of a key ends whose last column is a period; PostgreSQL 18 has them.
_OVER_PERIODS = " WITHOUT OVERLAPS)"


def look(ground: Ground) -> Iterator[Finding]:
    """Every reason, each with its way out; nothing where tenants stay in one table."""
    if not ground.plan.separates:
        return
    tables = ground.original.tables
    oids = [table.oid for table in tables.values()]
    ours = {(table.schema_, table.name) for table in ground.original.tables.values()}
    yield none_of(
        "schemas: keys",
        [
            f"{name} has none" if table.primary_key is None else f"that of {name} is deferrable"
            for name, table in tables.items()
            if table.primary_key is None or table.primary_key.deferrable
        ],
        level="stop",
        way_out="a row is found on both sides by its primary key, at once: give it one, NOT DEFERRABLE",
        fine="every table has a primary key",
    )
    yield none_of(
        "schemas: deferrable constraints",
        [
            f"{c.name} of {name}"
            for name, t in tables.items()
            for c in t.constraints
            if c.kind == "u" and c.deferrable
        ]
        + schemas.deferrable_exclusions(ground.connection, oids),
        level="stop",
        way_out="rows are copied with ON CONFLICT, which takes none: make it NOT DEFERRABLE",
        fine="none",
    )
    yield none_of(
        "schemas: constraints that not every row is held to",
        [one for name, table in tables.items() for one in _held_by_some(name, table)],
        level="stop",
        way_out="a copy holds every row to its constraints: VALIDATE CONSTRAINT, or drop it",
        fine="none",
    )
    yield none_of(
        "schemas: keys over periods",
        [
            f"{one.name} of {name}"
            for name, table in tables.items()
            for one in table.constraints
            if one.definition.endswith(_OVER_PERIODS)
        ],
        level="stop",
        way_out="rows are found on both sides by values that are equal: make it a key of columns alone",
        fine="none",
    )
    yield none_of(
        "schemas: rules",
        schemas.rules(ground.connection, oids),
        level="stop",
        way_out="they are not taken over, and rewrite what keeps both sides the same: make triggers of them",
        fine="none",
    )
    yield none_of(
        "schemas: partitions and inheritance",
        [name for name, table in tables.items() if table.kind == "p" or table.is_partition or table.inherits],
        level="stop",
        way_out='their copies are not built: leave them out of the plan, or keep isolation = "shared_schema"',
        fine="none",
    )
    yield none_of(
        "schemas: foreign keys from outside the plan",
        [
            f"{key.name} of {key.schema_}.{key.table} onto {name}"
            for name, table in tables.items()
            for key in table.referenced_by
            if (key.schema_, key.table) not in ours
        ],
        level="stop",
        way_out="they can't point to many schemas: take their tables into the plan, or drop them",
        fine="none",
    )
    yield none_of(
        "schemas: row-level security",
        [name for name, table in tables.items() if table.row_security],
        level="stop",
        way_out="policies are not taken over: DISABLE ROW LEVEL SECURITY first, the schemas take its place",
        fine="none",
    )
    yield none_of(
        "schemas: names that two tables use",
        list(_twice(schemas.patterns(ground.connection, oids).values())),
        level="stop",
        way_out="a tenant's tables are in one schema, with all of their indexes: rename one of the two",
        fine="none",
    )
    wanted = [(table.schema_, shared_name(table.name)) for table in tables.values()]
    taken = [] if schemas.switched(ground.connection) else schemas.relations(ground.connection, wanted)
    yield none_of(
        "schemas: names",
        taken,
        level="stop",
        way_out="the switch gives this name to the shared table: rename what has it",
        fine="those that the shared tables get are free",
    )


def _held_by_some(name: str, table: Table) -> Iterator[str]:
    """Constraints that are NOT VALID, and foreign keys that are NOT ENFORCED; a check may be that."""
    for check in table.constraints:
        if not check.validated and not check.definition.endswith(_NOT_ENFORCED):
            yield f"{check.name} of {name}"
    for key in table.foreign_keys:
        if not (key.validated and key.enforced):
            yield f"{key.name} of {name}"


def _twice(patterns: Collection[Pattern]) -> Iterator[str]:
    """Names of tables, indexes and statistics that are free now, for they are in schemas of their own."""
    relations = Counter(name for one in patterns for name in (one.name, *(i.name for i in one.indexes)))
    statistics = Counter(s.name for one in patterns for s in one.statistics)
    yield from sorted({name for each in (relations, statistics) for name, times in each.items() if times > 1})
