"""Whose row is it: the four sources of a row's tenant, as SQL.

The backfill's UPDATE and the write guard's trigger ask the same question about a row called `t`, so both
take their SQL from here. A source is three fragments: what else to read from, the value, and the
condition under which the value is known.
"""

from dataclasses import dataclass, replace

from psycopg import sql
from pydantic import BaseModel, ConfigDict, Field

#: How both callers name the row whose tenant is asked for.
ROW = sql.Identifier("t")


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constant(_Source):
    """Every row belongs to one tenant."""

    constant: str


class Expression(_Source):
    """The operator's own SQL over the row's columns: the one place where the plan holds SQL."""

    expression: str
    otherwise: str | None = None


class Lookup(_Source):
    """A table that names the tenant: `on` maps columns of the row to columns of `lookup`."""

    lookup: str
    on: dict[str, str] = Field(min_length=1)
    column: str
    otherwise: str | None = None


class Parent(_Source):
    """The tenant of another table of the plan: `on` maps columns of the row to columns of `parent`."""

    parent: str
    on: dict[str, str] = Field(min_length=1)
    otherwise: str | None = None


TenantSource = Constant | Expression | Lookup | Parent


@dataclass(frozen=True, slots=True)
class SourceSQL:
    """Fragments for `SELECT value FROM <row> AS t {joined} WHERE {resolved}`.

    `joined` starts with a comma and a table, or is empty, so that it fits behind `UPDATE … FROM`
    (`tables`, without the comma) too; `resolved` is false where the tenant can't be worked out.
    """

    value: sql.Composable
    tables: sql.Composable | None
    resolved: sql.Composable


def qualified(name: str) -> sql.Identifier:
    """`schema.table` or `table` as a quoted identifier; a dot inside quotes belongs to the name."""
    return sql.Identifier(*split_name(name))


def split_name(name: str) -> tuple[str, ...]:
    """Cut `schema.table`, `"Odd.Schema".table` or `table` into its parts.

    Raises:
        ValueError: an open quote, an empty part, or more than two parts.
    """
    parts: list[str] = []
    rest = name
    while True:
        if rest.startswith('"'):
            end = _closing_quote(rest, name)
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
        else:
            part, dot, after = rest.partition(".")
            parts.append(part)
            rest = dot + after
        if not rest:
            break
        if not rest.startswith("."):
            raise ValueError(f"{name!r} is not a table name")
        rest = rest[1:]
    if not all(parts) or len(parts) > 2:
        raise ValueError(f"{name!r} is not a table name")
    return tuple(parts)


def _closing_quote(rest: str, name: str) -> int:
    at = 1
    while (at := rest.find('"', at)) != -1:
        if rest[at : at + 2] != '""':
            return at
        at += 2
    raise ValueError(f"{name!r} has an open quote")


def unfilled(tenant_column: str, sentinel: str | None) -> sql.Composed:
    """Whether a row called `t` still needs its tenant."""
    column = sql.SQL("{}.{}").format(ROW, sql.Identifier(tenant_column))
    if sentinel is None:
        return sql.SQL("{} IS NULL").format(column)
    return sql.SQL("{} = {}").format(column, sql.Literal(sentinel))


def source_sql(source: TenantSource, *, tenant_column: str, sentinel: str | None) -> SourceSQL:
    """Compose the source for a row called `t`.

    A parent whose own tenant is still the sentinel resolves nothing: its children wait for it. A source that
    gives the empty text or the sentinel gives nothing: such a row would look unfilled for ever.
    """
    nothing = [text for text in dict.fromkeys(("", sentinel)) if text is not None]
    match source:
        case Constant(constant=constant):
            return SourceSQL(sql.Literal(constant), None, sql.SQL("true"))
        case Expression(expression=expression, otherwise=otherwise):
            # The operator's own SQL, checked by the server before use (EXPLAIN in preflight).
            value: sql.Composable = sql.SQL("({})::text").format(sql.SQL(expression))
            return _or_otherwise(value, otherwise, nothing)
        case Lookup(lookup=table, on=on, column=column, otherwise=otherwise):
            return _related(table, on, column, otherwise, nothing=nothing)
        case Parent(parent=table, on=on, otherwise=otherwise):
            filled = sql.SQL("r.{} IS NOT NULL").format(sql.Identifier(tenant_column))
            if sentinel is not None:
                filled = sql.SQL("r.{} <> {}").format(sql.Identifier(tenant_column), sql.Literal(sentinel))
            return _related(table, on, tenant_column, otherwise, filled=filled, nothing=nothing)


def _something(value: sql.Composable, nothing: list[str]) -> sql.Composable:
    """The value, or NULL where it is one of those that stand for nothing."""
    for text in nothing:
        value = sql.SQL("nullif({}, {})").format(value, sql.Literal(text))
    return value


def _or_otherwise(value: sql.Composable, otherwise: str | None, nothing: list[str]) -> SourceSQL:
    something = _something(value, nothing)
    if otherwise is not None:
        known = sql.SQL("coalesce({}, {})").format(something, sql.Literal(otherwise))
        return SourceSQL(known, None, sql.SQL("true"))
    return SourceSQL(value, None, sql.SQL("{} IS NOT NULL").format(something))


def _related(
    table: str,
    on: dict[str, str],
    column: str,
    otherwise: str | None,
    *,
    filled: sql.Composable | None = None,
    nothing: list[str],
) -> SourceSQL:
    pairs = [
        sql.SQL("r.{} = {}.{}").format(sql.Identifier(theirs), ROW, sql.Identifier(ours))
        for ours, theirs in on.items()
    ]
    condition = sql.SQL(" AND ").join([*pairs, *([filled] if filled is not None else [])])
    value = sql.SQL("r.{}").format(sql.Identifier(column))
    if otherwise is None:
        something = _something(sql.SQL("{}::text").format(value), nothing)
        known = sql.SQL("{} AND {} IS NOT NULL").format(condition, something)
        return SourceSQL(value, sql.SQL("{} AS r").format(qualified(table)), known)
    looked_up = sql.SQL("(SELECT {}::text FROM {} AS r WHERE {})").format(value, qualified(table), condition)
    fragments = _or_otherwise(looked_up, otherwise, nothing)
    if filled is None:
        return fragments
    # `otherwise` is for a row without a parent. One whose parent is only not filled yet waits for it: the
    # guard sees such rows while the backfill is at work, and a wrong tenant would never be put right.
    waits = sql.SQL("EXISTS (SELECT FROM {} AS r WHERE {} AND NOT {})").format(
        qualified(table), sql.SQL(" AND ").join(pairs), filled
    )
    return replace(fragments, resolved=sql.SQL("NOT {}").format(waits))
