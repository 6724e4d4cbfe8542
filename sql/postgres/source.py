"""The sources of a row's tenant as SQL.

The backfill's UPDATE, the write guard's triggers and `check` ask the same question about a row called `t`, so
all take their SQL from here. A source gives a row a tenant where it says something that the pattern lets
pass; the empty text and the sentinel are nothing, for such a row would look unfilled for ever.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from sql.postgres.pattern import fits
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

#: How every caller names the row whose tenant is asked for.
ROW = sql.Identifier("t")

_NULL = sql.SQL("NULL::text")


@dataclass(frozen=True, slots=True)
class SourceSQL:
    """Fragments for `SELECT value FROM <row> AS t, {tables} WHERE {resolved}`.

    `tables` is None where nothing else is read from; `resolved` is false or unknown where the tenant can't be
    worked out.
    """

    value: sql.Composable
    tables: sql.Composable | None
    resolved: sql.Composable


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every source of a table: its own name in the plan, and what a tenant is.

    Who `walks` asks further up in a tree where the row above is not filled yet. A batch does. The guard lets
    such a row wait: where rows have no tenant no trigger tells on what changes above them, and emptying a
    tree 400 deep took 53 s, for each of its rows walked up.
    """

    table: str
    column: str
    sentinel: str | None
    pattern: str
    walks: bool = True

    def proper(self, value: sql.Composable) -> sql.Composed:
        """Whether a text is a tenant: something, and as the pattern has it. Unknown for NULL."""
        for text in nothing(self.sentinel):
            value = sql.SQL("nullif({}, {})").format(value, sql.Literal(text))
        return fits(value, self.pattern)

    def filled(self, alias: str) -> sql.Composed:
        """Whether a row of a table of the plan has its tenant."""
        column = sql.Identifier(alias, self.column)
        return sql.SQL(" AND ").join(
            sql.SQL("{} <> {}").format(column, sql.Literal(text)) for text in nothing(self.sentinel)
        )


def nothing(sentinel: str | None) -> tuple[str, ...]:
    """The texts that are no tenant, beside NULL."""
    return tuple(dict.fromkeys(text for text in (sentinel, "") if text is not None))


def unfilled(tenant_column: str, sentinel: str | None, row: LiteralString = "t") -> sql.Composed:
    """Whether a row called `t`, or otherwise, still needs its tenant.

    A column that was there before may hold NULL, or no text, whatever the sentinel is.
    """
    column = sql.SQL("{}.{}").format(sql.SQL(row), sql.Identifier(tenant_column))
    texts = (sql.SQL("{} = {}").format(column, sql.Literal(text)) for text in nothing(sentinel))
    return sql.SQL("({})").format(sql.SQL(" OR ").join([*texts, sql.SQL("{} IS NULL").format(column)]))


def source_sql(source: TenantSource, rules: Rules) -> SourceSQL:
    """Compose the source for a row called `t`, as it is fastest for many rows at a time.

    What is looked up in one other table and nowhere else is joined; a subquery, row by row, is for the rest.
    """
    value: sql.Composable
    match source:
        case Constant(constant=constant):
            return SourceSQL(sql.Literal(constant), None, sql.SQL("true"))
        case Expression(expression=expression, otherwise=None):
            value = expression_text(expression)
            return SourceSQL(value, None, rules.proper(value))
        case Lookup(lookup=table, on=on, column=column, otherwise=None):
            value = sql.SQL("r.{}::text").format(sql.Identifier(column))
            known = sql.SQL("{} AND {}").format(matches(on, "r", "t"), rules.proper(value))
            return SourceSQL(value, _as(table, "r"), known)
        case Parent(parent=table, on=on, otherwise=None) if table != rules.table:
            value = sql.SQL("r.{}").format(sql.Identifier(rules.column))
            known = sql.SQL("{} AND {}").format(matches(on, "r", "t"), rules.filled("r"))
            return SourceSQL(value, _as(table, "r"), known)
    value = tenant_of(source, rules)
    if last_resort(source) is not None and not any(isinstance(one, Parent) for one in chain(source)):
        return SourceSQL(value, None, sql.SQL("true"))
    return SourceSQL(value, None, sql.SQL("{} IS NOT NULL").format(value))


def tenant_of(source: TenantSource | str | None, rules: Rules) -> sql.Composable:
    """Compose the tenant of one row called `t`, as a text; NULL where the source tells none."""
    match source:
        case None:
            return _NULL
        case str():
            return sql.Literal(source)
        case Constant(constant=constant):
            return sql.Literal(constant)
        case Expression(expression=expression, otherwise=otherwise):
            value = expression_text(expression)
            known = sql.SQL("CASE WHEN {} THEN {} END").format(rules.proper(value), value)
            return _or(known, tenant_of(otherwise, rules))
        case Lookup(lookup=table, on=on, column=column, otherwise=otherwise):
            value = sql.SQL("r.{}::text").format(sql.Identifier(column))
            known = sql.SQL("(SELECT {} FROM {} WHERE {} AND {})").format(
                value, _as(table, "r"), matches(on, "r", "t"), rules.proper(value)
            )
            return _or(known, tenant_of(otherwise, rules))
        case Parent(parent=table) if table == rules.table and rules.walks:
            return _or(_above(source, rules), _of_tree(source, rules))
        case Parent(otherwise=otherwise):
            # `otherwise` is for a row without a parent. One whose parent is only not filled yet waits for it:
            # the guard sees such rows while the backfill is at work, and a wrong tenant would stay.
            alone = sql.SQL("CASE WHEN NOT EXISTS (SELECT FROM {} WHERE {}) THEN {} END").format(
                _as(source.parent, "r"), _is_above(source, rules), tenant_of(otherwise, rules)
            )
            return _or(_above(source, rules), _NULL if otherwise is None else alone)


def kept(source: TenantSource, rules: Rules) -> sql.Composable:
    """Compose what a row called `t` has that nothing is told for: what it had, or no tenant again.

    The latter where the row that is to tell it is there and has no tenant yet: a batch that fills that one
    looks for nobody who has a tenant, and what an earlier parent told would stay.
    """
    had = sql.SQL("t.{}").format(sql.Identifier(rules.column))
    waits = [
        sql.SQL("EXISTS (SELECT FROM {} WHERE {} AND {})").format(
            _as(one.parent, "r"), _is_above(one, rules), unfilled(rules.column, rules.sentinel, row="r")
        )
        for one in chain(source)
        if isinstance(one, Parent)
    ]
    if not waits:
        return had
    return sql.SQL("CASE WHEN {} THEN {}::text ELSE {} END").format(
        sql.SQL(" OR ").join(waits), sql.Literal(rules.sentinel), had
    )


def _above(source: Parent, rules: Rules) -> sql.Composed:
    """The tenant of the row's parent, where that is filled."""
    return sql.SQL("(SELECT r.{}::text FROM {} WHERE {} AND {})").format(
        sql.Identifier(rules.column),
        _as(source.parent, "r"),
        _is_above(source, rules),
        rules.filled("r"),
    )


def _is_above(source: Parent, rules: Rules) -> sql.Composed:
    """Whether the row called `r` is the parent of the one called `t`; no row of a tree is its own."""
    above = matches(source.on, "r", "t")
    if source.parent != rules.table:
        return above
    keys = {name: name for name in source.on.values()}
    return sql.SQL("{} AND ({}) IS NOT TRUE").format(above, matches(keys, "r", "t"))


def _of_tree(source: Parent, rules: Rules) -> sql.Composed:
    """The same from the first row above that is filled; or what `otherwise` says of the topmost one.

    A row that points at itself is a topmost one. UNION ends a walk that goes in a circle, where no row is.
    """
    ours, theirs = list(source.on), list(source.on.values())
    table = _as(source.parent, "r")
    steps = {
        "start": _columns("t", theirs, "k") + _columns("t", ours, "o"),
        "next": _columns("r", theirs, "k") + _columns("r", ours, "o"),
    }
    above = sql.SQL(" AND ").join(
        sql.SQL("r.{} = up.{}").format(sql.Identifier(name), sql.Identifier(f"o{at}"))
        for at, name in enumerate(theirs)
    )
    itself = sql.SQL(" AND ").join(
        sql.SQL("r.{} = up.{}").format(sql.Identifier(name), sql.Identifier(f"k{at}"))
        for at, name in enumerate(theirs)
    )
    topmost = sql.SQL(" AND ").join(
        sql.SQL("t.{} = up.{}").format(sql.Identifier(name), sql.Identifier(f"k{at}"))
        for at, name in enumerate(theirs)
    )
    return sql.SQL(
        "(WITH RECURSIVE up AS (SELECT {start}, true AS own, NULL::text AS tenant"
        " UNION SELECT {next}, false, CASE WHEN {filled} THEN r.{column}::text END"
        " FROM up JOIN {table} ON {above} AND ({itself}) IS NOT TRUE WHERE up.tenant IS NULL)"
        " SELECT CASE WHEN up.tenant IS NOT NULL THEN up.tenant"
        " WHEN up.own THEN {otherwise_of_own}"
        " ELSE (SELECT {otherwise} FROM {tree} WHERE {topmost}) END"
        " FROM up WHERE up.tenant IS NOT NULL"
        " OR NOT EXISTS (SELECT FROM {table} WHERE {above} AND ({itself}) IS NOT TRUE) LIMIT 1)"
    ).format(
        start=sql.SQL(", ").join(steps["start"]),
        next=sql.SQL(", ").join(steps["next"]),
        filled=rules.filled("r"),
        column=sql.Identifier(rules.column),
        table=table,
        above=above,
        itself=itself,
        otherwise_of_own=by_itself(tenant_of(source.otherwise, rules)),
        otherwise=tenant_of(source.otherwise, rules),
        tree=_as(source.parent, "t"),
        topmost=topmost,
    )


def _columns(alias: str, names: Iterable[str], prefix: str) -> list[sql.Composed]:
    return [
        sql.SQL("{}.{} AS {}").format(
            sql.Identifier(alias), sql.Identifier(name), sql.Identifier(f"{prefix}{at}")
        )
        for at, name in enumerate(names)
    ]


def matches(on: dict[str, str], theirs: str, ours: str) -> sql.Composed:
    """Compose whether the row called `theirs` is the one that the row called `ours` names."""
    return sql.SQL(" AND ").join(
        sql.SQL("{}.{} = {}.{}").format(
            sql.Identifier(theirs), sql.Identifier(their), sql.Identifier(ours), sql.Identifier(our)
        )
        for our, their in on.items()
    )


def by_itself(value: sql.Composable) -> sql.Composed:
    """Compose a value of the row called `t` where other rows are at hand, whose columns it mustn't take."""
    return sql.SQL("(SELECT {} FROM (SELECT t.*) AS t)").format(value)


def expression_text(expression: str) -> sql.Composed:
    """Compose the operator's own SQL, which the server checks before use (EXPLAIN in preflight)."""
    return sql.SQL("({})::text").format(sql.SQL(expression))


def _as(table: str, alias: str) -> sql.Composed:
    return sql.SQL("{} AS {}").format(qualified(table), sql.Identifier(alias))


def _or(first: sql.Composable, second: sql.Composable) -> sql.Composable:
    return first if second is _NULL else sql.SQL("coalesce({}, {})").format(first, second)
