"""A table with the tenants that its rows will have, worked out for all of them at once and written nowhere.

Unlike `sql.postgres.source` it needs no tenant column, which may not be there yet: a parent's tenants are
those that its own rows will have, or keep. And it lets pass what breaks the pattern, for `check` to show.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg import sql

from sql.named import load
from sql.postgres.source import by_itself, expression_text, matches, unfilled
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


@dataclass(frozen=True, slots=True)
class Planned:
    """The tables of a plan: each one's source, what it is in a FROM, and what its rows have already.

    `kept` is the tenant that a row called `t` has; no entry where the tenant column isn't there yet.
    """

    sources: Mapping[str, TenantSource]
    tables: Mapping[str, sql.Composable]
    kept: Mapping[str, sql.Composable] = field(default_factory=dict)


def kept(tenant_column: str, sentinel: str | None) -> sql.Composed:
    """Compose the tenant that a row called `t` has and keeps; NULL where it has none."""
    return sql.SQL("CASE WHEN NOT {} THEN t.{}::text END").format(
        unfilled(tenant_column, sentinel), sql.Identifier(tenant_column)
    )


def planned(plan: Planned, name: str) -> sql.Composed:
    """A table of the plan with the tenants that its rows will have, in column `TENANT`; for a FROM."""
    first, *others = chain(plan.sources[name])
    if not isinstance(first, Parent) or first.parent != name:
        return _joined(plan, name, [first, *others])
    below = _joined(plan, name, others, after=last_resort(first))
    pairs = list(first.on.items())
    return STATEMENTS.tree.compose(
        based=below,
        table=plan.tables[name],
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
    plan: Planned, name: str, asked: Sequence[TenantSource], after: str | None = None
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
                joins.append(_join(planned(plan, parent), alias, on))
    has = plan.kept.get(name)
    if has is not None:
        value = sql.SQL("coalesce({}, {})").format(has, value)
    return STATEMENTS.table.compose(
        table=plan.tables[name],
        kept=sql.SQL("NULL::text") if has is None else has,
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
