"""Sources that may answer twice: what they name is not unique where it is looked for.

A batch takes the one or the other answer then, as the server comes upon them, and so does the write guard.
Where a source has another beside it (`otherwise`), or rows follow a change, the question is a subquery, which
fails: such rows are set aside, and don't follow.
"""

from collections.abc import Iterator, Sequence

import psycopg
from psycopg import sql

from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding
from control.preflight.rows import LIMIT_MS, given_up, planned
from control.preflight.sources import leaders, name_of
from control.stage import Ground
from sql.postgres import planned as to_be
from sql.postgres import preflight
from sql.postgres.facts import Table
from sql.tenant_source import Lookup, Parent, chain


def look(ground: Ground, limit_ms: int = LIMIT_MS) -> Iterator[Finding]:
    """Every source that reads another table; each count is given up after `limit_ms` milliseconds.

    The tables, their columns and the tenant sources must have passed before.
    """
    there = leaders(ground)
    for table in ground.plan.tables:
        for source in chain(table.tenant):
            if isinstance(source, Lookup | Parent):
                yield _answers(ground, table, source, there[name_of(source)], limit_ms)


def _answers(
    ground: Ground, table: PlanTable, source: Lookup | Parent, there: Table, limit_ms: int
) -> Finding:
    called, columns = name_of(source), tuple(dict.fromkeys(source.on.values()))
    name, of = f"{table.name}: one {called} to a row", f"{called} ({', '.join(columns)})"
    if any(_is_unique(index_columns, columns) for index_columns in _unique(there)):
        return Finding("pass", name, f"{of} is unique")
    if isinstance(source, Lookup):
        rows: sql.Composable = there.identifier
        tenant: sql.Composable = sql.SQL("r.{}::text").format(sql.Identifier(source.column))
    else:
        rows = planned(ground.plan, ground.original, source.parent)
        tenant = sql.SQL("r.{}").format(to_be.TENANT)
    try:
        with ground.connection.transaction(force_rollback=True):
            preflight.limit(ground.connection, limit_ms)
            found = preflight.ambiguous(
                ground.connection, rows, columns, tenant, pattern=ground.plan.tenant.pattern
            )
    except psycopg.errors.QueryCanceled:
        return given_up(name, limit_ms)
    unique = _statement(there, columns)
    if not found.keys:
        fact = f"nothing makes {of} unique, though it is: a second one would be another answer"
        return Finding("warn", name, fact, unique)
    way_out = f"delete what is too much, or name more columns in `on`; then {unique}"
    examples = "; ".join(found.examples)
    if found.torn:
        fact = f"{found.torn} values of {of} lead to several tenants each, such as {examples}"
        return Finding("stop", name, fact, f"{way_out}. A row would get the one or the other")
    fact = f"{found.keys} values of {of} are there more than once, for one tenant each, such as {examples}"
    if _asked_by_itself(ground, table, source):
        return Finding("warn", name, fact, f"{way_out}. Until then no row follows a change of these")
    return Finding("stop", name, fact, f"{way_out}. Beside `otherwise`, rows that find two are set aside")


def _statement(there: Table, columns: Sequence[str]) -> str:
    if there.kind == "p":
        return "keep it so: a unique index of a partitioned table has to hold its partition key too"
    statement = sql.SQL("CREATE UNIQUE INDEX CONCURRENTLY ON {} ({})")
    return statement.format(there.identifier, sql.SQL(", ").join(map(sql.Identifier, columns))).as_string()


def _unique(there: Table) -> Iterator[tuple[str, ...]]:
    """The columns of each unique index that holds for all rows."""
    for index in there.indexes:
        if index.unique and index.valid and index.predicate is None:
            yield index.columns


def _is_unique(unique: tuple[str, ...], columns: tuple[str, ...]) -> bool:
    return set(unique) <= set(columns)


def _asked_by_itself(ground: Ground, table: PlanTable, source: Lookup | Parent) -> bool:
    """Whether it is joined, as the only source of a table that is not its own parent."""
    only = list(chain(ground.plan.source_of(table))) == [source]
    return only and source.otherwise is None and name_of(source) != table.name
