"""Sources that may answer twice: what they name is not unique where it is looked for."""

from collections.abc import Iterator

from control.plan.sections import Table as PlanTable
from control.preflight.finding import Finding
from control.preflight.rows import given_up
from control.preflight.sources import name_of
from control.sqlite.preflight.integrity import LIMIT
from control.sqlite.preflight.sources import asked, rows_of
from control.sqlite.stage import Ground
from sql.sqlite import preflight
from sql.sqlite.facts import Table
from sql.sqlite.names import folded, listed, quoted
from sql.tenant_source import Lookup, Parent


def look(ground: Ground, limit: float = LIMIT) -> Iterator[Finding]:
    """Every source that reads another table; each count is given up after `limit` seconds.

    The tables, their columns and the tenant sources must have passed before.
    """
    for table in ground.plan.tables:
        for source in asked(table):
            yield _answers(ground, table, source, limit)


def _answers(ground: Ground, table: PlanTable, source: Lookup | Parent, limit: float) -> Finding:
    there = ground.original.table(name_of(source))
    columns = tuple(dict.fromkeys(source.on.values()))
    name, of = f"{table.name}: one {there.name} to a row", f"{there.name} ({', '.join(columns)})"
    if _unique(there, columns):
        return Finding("pass", name, f"{of} is unique")
    try:
        with preflight.limited(ground.connection, limit):
            found = rows_of(ground).ambiguous(
                source.lookup if isinstance(source, Lookup) else source.parent,
                columns,
                source.column if isinstance(source, Lookup) else None,
            )
    except preflight.TooLongError:
        return given_up(name, round(limit * 1000))
    wanted = quoted(f"{there.name}_{'_'.join(columns)}_key")
    unique = f"CREATE UNIQUE INDEX {wanted} ON {quoted(there.name)} ({listed(columns)})"
    if not found["keys"]:
        fact = f"nothing makes {of} unique, though it is: a second one would be another answer"
        return Finding("warn", name, fact, unique)
    way_out = f"delete what is too much, or name more columns in `on`; then {unique}"
    if found["torn"]:
        fact = f"{found['torn']} values of {of} lead to several tenants each, such as {found['examples']}"
        return Finding("stop", name, fact, f"{way_out}. A row would get the one or the other")
    fact = (
        f"{found['keys']} values of {of} are there more than once, for one tenant each, such as "
        f"{found['examples']}"
    )
    return Finding("warn", name, fact, way_out)


def _unique(there: Table, columns: tuple[str, ...]) -> bool:
    """Whether the columns hold a whole key: no two rows have the same in all of them."""
    wanted = {folded(column) for column in columns}
    keys = [there.primary_key] + [
        tuple(name or "" for name in index.columns)
        for index in there.indexes
        if index.unique and not index.partial and None not in index.columns
    ]
    return any(key and {folded(name) for name in key} <= wanted for key in keys)
