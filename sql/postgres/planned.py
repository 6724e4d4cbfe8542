"""A table with the tenants that its rows will have, worked out for all of them at once and written nowhere.

Unlike `sql.postgres.source` it looks at no tenant column, which may not be there yet: a parent's tenants are
those that its own rows will have. And it lets pass what breaks the pattern, for `check` to show.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.source import by_itself, expression_text, matches
from sql.tenant_source import (
    Constant,
    Expression,
    Lookup,
    Parent,
    TenantSource,
    chain,
    last_resort,
    qualified,
)

STATEMENTS = load(Path(__file__).parent, "planned")

#: The column that holds a row's tenant-to-be; no column of anybody's is called that.
TENANT_NAME = "tenantry: tenant to be"
TENANT = sql.Identifier(TENANT_NAME)
#: And the one that holds a row's place, which names it where the table has no key.
PLACE = sql.Identifier("tenantry: place")


def planned(
    sources: Mapping[str, TenantSource], tables: Mapping[str, sql.Composable], name: str
) -> sql.Composed:
    """A table of the plan with the tenants that its rows will have, in column `TENANT`; for a FROM."""
    first, *others = chain(sources[name])
    if not isinstance(first, Parent) or first.parent != name:
        return _joined(sources, tables, name, [first, *others])
    below = _joined(sources, tables, name, others, after=last_resort(first))
    pairs = list(first.on.items())
    return STATEMENTS.tree.compose(
        based=below,
        table=tables[name],
        tenant=TENANT,
        place=PLACE,
        keys=sql.SQL(", ").join(
            sql.SQL("b.{} AS {}").format(sql.Identifier(their), sql.Identifier(f"k{at}"))
            for at, (_, their) in enumerate(pairs)
        ),
        above=matches(first.on, "r", "b"),
        below=sql.SQL(" AND ").join(
            sql.SQL("b.{} = walked.{}").format(sql.Identifier(our), sql.Identifier(f"k{at}"))
            for at, (our, _) in enumerate(pairs)
        ),
    )


def _joined(
    sources: Mapping[str, TenantSource],
    tables: Mapping[str, sql.Composable],
    name: str,
    asked: Sequence[TenantSource],
    after: str | None = None,
) -> sql.Composed:
    """The table with what its sources read beside it, each asked where those before it say nothing."""
    last = after if not asked else last_resort(asked[-1])
    value: sql.Composable = sql.SQL("NULL::text") if last is None else sql.Literal(last)
    joins: list[sql.Composed] = []
    for at, source in reversed(list(enumerate(asked))):
        alias = f"r{at}"
        match source:
            case Constant(constant=constant):
                value = sql.Literal(constant)
            case Expression(expression=expression):
                said = expression_text(expression)
                value = _first_of(said if len(asked) == 1 else by_itself(said), value)
            case Lookup(lookup=lookup, on=on, column=column):
                value = _first_of(sql.SQL("{}::text").format(sql.Identifier(alias, column)), value)
                joins.append(_join(qualified(lookup), alias, on))
            case Parent(parent=parent, on=on):
                theirs = sql.Identifier(alias, TENANT_NAME)
                there = sql.SQL("{}.{} IS NOT NULL").format(sql.Identifier(alias), PLACE)
                value = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(there, theirs, value)
                joins.append(_join(planned(sources, tables, parent), alias, on))
    return STATEMENTS.table.compose(
        table=tables[name],
        value=sql.SQL("({})::text").format(value),
        tenant=TENANT,
        place=PLACE,
        joined=_lines(reversed(joins)),
    )


def _first_of(value: sql.Composable, following: sql.Composable) -> sql.Composed:
    return sql.SQL("coalesce(nullif({}, ''), {})").format(value, following)


def _join(related: sql.Composable, alias: str, on: dict[str, str]) -> sql.Composed:
    return sql.SQL("LEFT JOIN {} AS {} ON {}").format(related, sql.Identifier(alias), matches(on, alias, "t"))


def _lines(joins: Iterable[sql.Composed]) -> sql.Composed:
    return sql.SQL(" ").join(joins)
